//! The ends of a bridge that are queues.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::bridge::{
    BridgeContext, BridgeFault, BridgeMessage, BridgeProtocol, BridgeReason, BridgeSource, BridgeTarget,
    DeliveryTag, Disposition, Protocol, Settled,
};
use onex_spi::provider::{KeyError, Table, parse_config};
use onex_spi::{Clock, Error, ErrorKind, Health, Lifecycle, Result};
use serde::Deserialize;
use tokio::sync::Notify;

use super::{MemoryHub, MemoryQueue};

const CLOSE: &str = "memory.close";

/// The protocol over the queues of one hub.
#[derive(Debug)]
pub(super) struct Memory {
    hub: MemoryHub,
}

impl Memory {
    pub(super) fn new(hub: MemoryHub) -> Self {
        Self { hub }
    }
}

/// What a source is told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceConfig {
    /// The queue from which it takes; it must exist.
    queue: String,
    /// What happens to a message that nobody accepted.
    #[serde(default)]
    on_failed: OnFailed,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OnFailed {
    /// It is gone, traced and counted ([`MemoryQueue::discarded`]).
    #[default]
    Discard,
    /// It goes to the end of its queue.
    Requeue,
}

/// What a target is told: nothing, the routes say it all.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetConfig {}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BridgeProtocol for Memory {
    fn name(&self) -> Protocol {
        Protocol::new("memory")
    }

    fn check_source(&self, config: &Table) -> Vec<KeyError> {
        KeyError::of_config::<SourceConfig>(config)
    }

    fn check_target(&self, config: &Table) -> Vec<KeyError> {
        KeyError::of_config::<TargetConfig>(config)
    }

    async fn source(&self, config: Table, context: &BridgeContext) -> Result<Arc<dyn BridgeSource>> {
        let config: SourceConfig = parse_config("memory.source", config)?;
        let Some(queue) = self.hub.find(&config.queue) else {
            return Err(MemoryQueue::missing(&config.queue, &self.hub.names())
                .with_detail(BridgeFault::new(BridgeReason::InvalidEndpoint)));
        };
        Ok(Arc::new(Source {
            queue,
            on_failed: config.on_failed,
            clock: context.clock.clone(),
            handed: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    async fn target(&self, config: Table, _: &BridgeContext) -> Result<Arc<dyn BridgeTarget>> {
        let TargetConfig {} = parse_config("memory.target", config)?;
        Ok(Arc::new(Target { hub: self.hub.clone(), closed: Mutex::new(false) }))
    }
}

struct Source {
    queue: MemoryQueue,
    on_failed: OnFailed,
    clock: Arc<dyn Clock>,
    handed: Mutex<Handed>,
    /// Tells `receive` of a close, and `close` of the last tag.
    changed: Notify,
}

/// What was handed out and is not settled. Messages are kept only where a failed one goes back.
#[derive(Default)]
struct Handed {
    last: u64,
    open: usize,
    kept: BTreeMap<u64, BridgeMessage>,
    closed: bool,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemorySource").field("queue", &self.queue).field("open", &self.handed().open).finish()
    }
}

impl Source {
    fn handed(&self) -> MutexGuard<'_, Handed> {
        self.handed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what the queue has; `None` where there is nothing yet, 0 once there will be nothing more.
    fn take(&self, max: usize, into: &mut Vec<(DeliveryTag, BridgeMessage)>) -> Option<usize> {
        let mut handed = self.handed();
        if handed.closed {
            return Some(0);
        }
        self.queue.take_now(max, |message| {
            handed.last += 1;
            handed.open += 1;
            if matches!(self.on_failed, OnFailed::Requeue) {
                let tag = handed.last;
                handed.kept.insert(tag, message.clone());
            }
            into.push((DeliveryTag::new(handed.last), message));
        })
    }

    async fn until(&self, done: impl Fn(&Handed) -> bool) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if done(&self.handed()) {
                return;
            }
            changed.await;
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Lifecycle for Source {
    async fn health(&self) -> Health {
        if self.handed().closed {
            return Health::Unhealthy(format!("the source of the queue `{}` is closed", self.queue.name()));
        }
        Health::Healthy
    }

    async fn close(&self, within: Duration) -> Result<()> {
        self.handed().closed = true;
        self.changed.notify_waiters();
        let settled = self.until(|handed| handed.open == 0);
        // A time that no clock can add is no limit.
        let Some(deadline) = self.clock.now().checked_add(within) else {
            settled.await;
            return Ok(());
        };
        tokio::select! {
            biased;
            () = settled => Ok(()),
            () = self.clock.sleep_until(deadline) => {
                let open = self.handed().open;
                let message = format!("{open} messages of the queue `{}` were not settled within {within:?}", self.queue.name());
                Err(Error::new(ErrorKind::TimedOut, CLOSE, message))
            }
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BridgeSource for Source {
    async fn receive(&self, max: usize, into: &mut Vec<(DeliveryTag, BridgeMessage)>) -> Result<usize> {
        if let Some(taken) = self.take(max, into) {
            return Ok(taken);
        }
        loop {
            let (mut filled, mut changed) = (pin!(self.queue.filled()), pin!(self.changed.notified()));
            filled.as_mut().enable();
            changed.as_mut().enable();
            if let Some(taken) = self.take(max, into) {
                return Ok(taken);
            }
            tokio::select! {
                () = filled => {}
                () = changed => {}
            }
        }
    }

    fn settle(&self, settled: Vec<Settled>) {
        let mut failed = Vec::new();
        let mut discarded = 0;
        let last = {
            let mut handed = self.handed();
            handed.open = handed.open.saturating_sub(settled.len());
            for end in settled {
                let kept = handed.kept.remove(&end.tag.get());
                match (end.disposition, kept) {
                    (Disposition::Failed(_), Some(message)) => failed.push(message),
                    (Disposition::Failed(error), None) => {
                        discarded += 1;
                        tracing::warn!(queue = self.queue.name(), id = %end.id, %error, "discarded a message that failed");
                    }
                    _ => {}
                }
            }
            handed.open == 0
        };
        if discarded > 0 {
            self.queue.discard(discarded);
        }
        if !failed.is_empty() {
            self.queue.requeue(failed);
        }
        if last {
            self.changed.notify_waiters();
        }
    }

    fn addresses(&self) -> Vec<String> {
        vec![address(self.queue.name())]
    }
}

#[derive(Debug)]
struct Target {
    hub: MemoryHub,
    closed: Mutex<bool>,
}

impl Target {
    fn is_closed(&self) -> bool {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Lifecycle for Target {
    async fn health(&self) -> Health {
        if self.is_closed() {
            return Health::Unhealthy("the memory target is closed".to_owned());
        }
        Health::Healthy
    }

    async fn close(&self, _: Duration) -> Result<()> {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        Ok(())
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BridgeTarget for Target {
    fn check_route(&self, to: &str) -> Result<()> {
        if to.is_empty() {
            return Err(Error::invalid(
                "memory.check_route",
                "a route is the name of a queue, and is not empty",
            ));
        }
        Ok(())
    }

    fn address(&self, to: &str) -> String {
        address(to)
    }

    async fn deliver(&self, to: &Arc<str>, messages: &[BridgeMessage]) -> Vec<Result<Option<BridgeMessage>>> {
        let refused = |error: Error| messages.iter().map(|_| Err(error.clone())).collect();
        if self.is_closed() {
            return refused(Error::closed("memory.deliver", "the memory target"));
        }
        let Some(queue) = self.hub.find(to) else {
            return refused(MemoryQueue::missing(to, &self.hub.names()));
        };
        let put = queue.put(messages).await;
        let mut answers: Vec<_> = messages[..put].iter().map(|_| Ok(None)).collect();
        // A queue that ends half way has taken the first ones.
        let closed = || Err(Error::closed("memory.deliver", format_args!("the queue `{to}`")));
        answers.resize_with(messages.len(), closed);
        answers
    }
}

fn address(queue: &str) -> String {
    format!("memory:{queue}")
}
