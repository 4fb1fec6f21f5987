//! Ends in memory: queues by name, which tests fill and read.
//!
//! ```text
//!  offer(name, ..) ─► queue `name` ─► source { queue = name }          target ─► queue `route` ─► arrived(route)
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::bridge::{
    BridgeContext, BridgeMessage, BridgeProtocol, BridgeSource, BridgeTarget, DeliveryTag, Protocol, Settled,
};
use onex_spi::provider::{KeyError, Table, Value};
use onex_spi::{Clock, Error, ErrorKind, Features, Health, Lifecycle, Result};
use tokio::sync::watch;

use super::ends::{Ends, EndsFeature, EndsSetup};

/// Ends whose other side is a handful of queues of this process; the protocol's name is `scripted`.
#[derive(Clone)]
pub struct MemoryEnds {
    clock: Arc<dyn Clock>,
    queues: Arc<Queues>,
}

struct Queues {
    by_name: Mutex<BTreeMap<Arc<str>, VecDeque<BridgeMessage>>>,
    changes: watch::Sender<u64>,
}

impl Queues {
    fn by_name(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, VecDeque<BridgeMessage>>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, name: &str, max: usize) -> Result<Vec<BridgeMessage>> {
        let mut queues = self.by_name();
        let queue = queues.get_mut(name).ok_or_else(|| no_queue(name))?;
        let count = max.min(queue.len());
        Ok(queue.drain(..count).collect())
    }

    fn change(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }
}

impl fmt::Debug for MemoryEnds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryEnds").field("queues", &self.queues.by_name().len()).finish()
    }
}

impl MemoryEnds {
    /// Makes ends without queues.
    #[must_use]
    pub fn new(setup: EndsSetup) -> Self {
        let queues = Queues { by_name: Mutex::default(), changes: watch::Sender::new(0) };
        Self { clock: setup.clock, queues: Arc::new(queues) }
    }

    fn make(&self, name: &str) {
        self.queues.by_name().entry(name.into()).or_default();
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Ends for MemoryEnds {
    fn source_protocol(&self) -> Arc<dyn BridgeProtocol> {
        Arc::new(Scripted(Arc::clone(&self.queues)))
    }

    fn target_protocol(&self) -> Arc<dyn BridgeProtocol> {
        self.source_protocol()
    }

    fn features(&self) -> Features<EndsFeature> {
        Features::all()
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    async fn source(&self, name: &str) -> Result<Table> {
        self.make(name);
        Ok(Table::from_iter([(QUEUE.to_owned(), Value::from(name))]))
    }

    async fn target(&self, secret: Option<&str>) -> Result<Table> {
        Ok(secret.map(|secret| (PASSWORD.to_owned(), Value::from(secret))).into_iter().collect())
    }

    async fn route(&self, name: &str) -> Result<String> {
        self.make(name);
        Ok(name.to_owned())
    }

    fn missing_route(&self, name: &str) -> String {
        name.to_owned()
    }

    fn route_into(&self, name: &str) -> String {
        name.to_owned()
    }

    async fn offer(&self, name: &str, _: &[String], messages: Vec<BridgeMessage>) -> Result<()> {
        let mut queues = self.queues.by_name();
        queues.get_mut(name).ok_or_else(|| no_queue(name))?.extend(messages);
        drop(queues);
        self.queues.change();
        Ok(())
    }

    async fn arrived(&self, route: &str) -> Result<Vec<BridgeMessage>> {
        let queues = self.queues.by_name();
        let queue = queues.get(route).ok_or_else(|| no_queue(route))?;
        Ok(queue.iter().cloned().collect())
    }

    async fn close(&self) {
        self.queues.by_name().clear();
    }
}

const QUEUE: &str = "queue";
const PASSWORD: &str = "password";

fn no_queue(name: &str) -> Error {
    let message = format!("there is no queue `{name}`; make it first");
    Error::new(ErrorKind::NotFound, "scripted.queue", message).not_applied()
}

struct Scripted(Arc<Queues>);

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scripted")
    }
}

/// Every key must be `known` and text.
fn check(config: &Table, known: &str) -> Vec<KeyError> {
    let wrong = config.iter().filter(|(key, value)| *key != known || !value.is_str());
    wrong
        .map(|(key, _)| KeyError::new(key, format!("unknown or no text; the one key is `{known}`")))
        .collect()
}

fn good(errors: Vec<KeyError>) -> Result<()> {
    match errors.first() {
        Some(error) => Err(Error::invalid("scripted.open", error.message.clone())),
        None => Ok(()),
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BridgeProtocol for Scripted {
    fn name(&self) -> Protocol {
        Protocol::new("scripted")
    }

    fn check_source(&self, config: &Table) -> Vec<KeyError> {
        let mut errors = check(config, QUEUE);
        if !config.contains_key(QUEUE) {
            errors.push(KeyError::new(QUEUE, "missing; name the queue to read from"));
        }
        errors
    }

    fn check_target(&self, config: &Table) -> Vec<KeyError> {
        check(config, PASSWORD)
    }

    async fn source(&self, config: Table, context: &BridgeContext) -> Result<Arc<dyn BridgeSource>> {
        good(self.check_source(&config))?;
        let name: Arc<str> = config.get(QUEUE).and_then(Value::as_str).unwrap_or_default().into();
        if !self.0.by_name().contains_key(&name) {
            return Err(no_queue(&name));
        }
        let tags = watch::Sender::new(Tags::default());
        Ok(Arc::new(Source { queues: Arc::clone(&self.0), clock: Arc::clone(&context.clock), name, tags }))
    }

    async fn target(&self, config: Table, _: &BridgeContext) -> Result<Arc<dyn BridgeTarget>> {
        good(self.check_target(&config))?;
        Ok(Arc::new(Target(Arc::clone(&self.0))))
    }
}

#[derive(Default)]
struct Tags {
    last: u64,
    open: BTreeSet<DeliveryTag>,
    closed: bool,
}

struct Source {
    queues: Arc<Queues>,
    clock: Arc<dyn Clock>,
    name: Arc<str>,
    tags: watch::Sender<Tags>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(&self.name).finish()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Lifecycle for Source {
    async fn health(&self) -> Health {
        Health::Healthy
    }

    async fn close(&self, within: Duration) -> Result<()> {
        self.tags.send_modify(|tags| tags.closed = true);
        let mut tags = self.tags.subscribe();
        let settled = async { tags.wait_for(|tags| tags.open.is_empty()).await.map(drop) };
        let out_of_time = async {
            match self.clock.now().checked_add(within) {
                Some(end) => self.clock.sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // The sender cannot be gone: it lives in `self`.
            _ = settled => Ok(()),
            () = out_of_time => {
                let message = format!("not every message was settled within {within:?}");
                Err(Error::new(ErrorKind::TimedOut, "scripted.close", message))
            }
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BridgeSource for Source {
    async fn receive(&self, max: usize, into: &mut Vec<(DeliveryTag, BridgeMessage)>) -> Result<usize> {
        let (mut changes, mut tags) = (self.queues.changes.subscribe(), self.tags.subscribe());
        loop {
            changes.mark_unchanged();
            tags.mark_unchanged();
            if tags.borrow().closed {
                return Ok(0);
            }
            let taken = self.queues.take(&self.name, max)?;
            if !taken.is_empty() {
                let count = taken.len();
                self.tags.send_modify(|tags| {
                    for message in taken {
                        tags.last += 1;
                        let tag = DeliveryTag::new(tags.last);
                        tags.open.insert(tag);
                        into.push((tag, message));
                    }
                });
                return Ok(count);
            }
            // Neither sender can be gone: both live in `self`.
            tokio::select! {
                _ = changes.changed() => {}
                _ = tags.changed() => {}
            }
        }
    }

    fn settle(&self, settled: Vec<Settled>) {
        self.tags.send_modify(|tags| settled.iter().for_each(|one| _ = tags.open.remove(&one.tag)));
    }

    fn addresses(&self) -> Vec<String> {
        vec![format!("scripted:{}", self.name)]
    }
}

struct Target(Arc<Queues>);

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Target")
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Lifecycle for Target {
    async fn health(&self) -> Health {
        Health::Healthy
    }

    async fn close(&self, _: Duration) -> Result<()> {
        Ok(())
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BridgeTarget for Target {
    fn check_route(&self, to: &str) -> Result<()> {
        if to.is_empty() {
            return Err(Error::invalid(
                "scripted.check_route",
                "a route is the name of a queue, never empty",
            ));
        }
        Ok(())
    }

    fn address(&self, to: &str) -> String {
        format!("scripted:{to}")
    }

    async fn deliver(&self, to: &Arc<str>, messages: &[BridgeMessage]) -> Vec<Result<Option<BridgeMessage>>> {
        let mut queues = self.0.by_name();
        let answers = match queues.get_mut(to) {
            Some(queue) => {
                queue.extend(messages.iter().cloned());
                messages.iter().map(|_| Ok(None)).collect()
            }
            None => messages.iter().map(|_| Err(no_queue(to))).collect(),
        };
        drop(queues);
        self.0.change();
        answers
    }
}
