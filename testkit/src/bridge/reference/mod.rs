//! A second bridge, unlike any other on purpose: one lock a bridge, one task a message, nothing clever.
//!
//! ```text
//!  source task ─┐
//!               ├─ take: room, ledger ─► task: rules ─► attempts ─► dead letter ─► settle: ledger, then tell the owner
//!  send ────────┘
//! ```
//!
//! It is the good bridge below the broken ones, and slow. Its conditions are the few shapes that the cases use: see `rules`.

mod line;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::bridge::{
    BridgeConfig, BridgeContext, BridgeFault, BridgeHealth, BridgeId, BridgeInfo, BridgeMessage,
    BridgeMetrics, BridgeProtocol, BridgeReason, BridgeReceipt, BridgeStatus, BridgeTarget,
    CommunicationBridge, Protocol, RoutingRule,
};
use onex_spi::provider::KeyError;
use onex_spi::{Clock, Error, ErrorKind, Health, Lifecycle, Result};

use self::line::{Dead, Line};
use super::BridgeSetup;

/// The reference bridge.
#[derive(Debug)]
pub struct ReferenceBridge {
    clock: Arc<dyn Clock>,
    seed: u64,
    protocols: BTreeMap<Protocol, Arc<dyn BridgeProtocol>>,
    book: Arc<Mutex<Book>>,
}

#[derive(Debug, Default)]
struct Book {
    last: u64,
    names: BTreeSet<Arc<str>>,
    lines: BTreeMap<BridgeId, Arc<Line>>,
    closed: bool,
}

impl ReferenceBridge {
    /// Makes a bridge on the setup's clock, over its protocols.
    #[must_use]
    pub fn new(setup: BridgeSetup) -> Self {
        let protocols = setup.protocols.into_iter().map(|protocol| (protocol.name(), protocol)).collect();
        Self { clock: setup.clock, seed: setup.seed, protocols, book: Arc::default() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A bridge that lives, or one that ended and is remembered.
    fn known(&self, id: BridgeId) -> Result<Option<Arc<Line>>> {
        let book = self.book();
        match book.lines.get(&id) {
            Some(line) => Ok(Some(Arc::clone(line))),
            None if id.get().get() <= book.last => Ok(None),
            None => {
                Err(Error::new(ErrorKind::NotFound, "bridge.find", format!("there is no {id}")).not_applied())
            }
        }
    }

    fn line(&self, id: BridgeId) -> Result<Arc<Line>> {
        self.known(id)?.ok_or_else(|| Error::closed("bridge.find", id))
    }

    fn protocol(&self, name: &Protocol) -> Result<&Arc<dyn BridgeProtocol>> {
        self.protocols.get(name).ok_or_else(|| {
            let known: Vec<_> = self.protocols.keys().map(Protocol::as_str).collect();
            let message = format!("no protocol `{name}`; known are {}", known.join(", "));
            refused(BridgeReason::UnknownProtocol, message)
        })
    }

    /// Opens the ends; what is open when a later one fails is closed.
    async fn open(
        &self,
        name: &Arc<str>,
        (source, target): (&Protocol, &Protocol),
        config: BridgeConfig,
        rules: Vec<rules::Rule>,
    ) -> Result<Line> {
        let context =
            BridgeContext::new(Arc::clone(&self.clock), self.seed, Arc::clone(name), config.message_bytes);
        let opened = self.protocol(source)?.source(config.source.clone(), &context).await?;
        let rest = async {
            let delivers = self.protocol(target)?.target(config.target.clone(), &context).await?;
            let dead = match &config.dead_letter {
                Some(dead) => {
                    let target = self.protocol(&dead.protocol)?.target(dead.target.clone(), &context).await?;
                    Some(Dead { target, to: dead.to.as_str().into() })
                }
                None => None,
            };
            let addresses = opened.addresses();
            let routes = rules.iter().map(|rule| &*rule.to).chain(config.default_route.as_deref());
            routes.into_iter().try_for_each(|to| check_route(&*delivers, &addresses, to))?;
            dead.iter().try_for_each(|dead| check_route(&*dead.target, &addresses, &dead.to))?;
            Ok((delivers, dead))
        };
        match rest.await {
            Ok((delivers, dead)) => Ok(Line::new(context, config, rules, (opened, delivers, dead))),
            Err(error) => {
                // Nothing was taken, so there is nothing to wait for, and the first error is the one to tell.
                let _ = opened.close(Duration::ZERO).await;
                Err(error)
            }
        }
    }
}

/// Checks a route by its target, and that it does not lead into the source that has these `addresses`.
fn check_route(target: &dyn BridgeTarget, addresses: &[String], to: &str) -> Result<()> {
    target.check_route(to)?;
    if addresses.contains(&target.address(to)) {
        return Err(refused(BridgeReason::Loop, format!("`{to}` leads into the bridge's own source")));
    }
    Ok(())
}

fn refused(reason: BridgeReason, message: String) -> Error {
    Error::invalid("bridge.create", message).with_detail(BridgeFault::new(reason))
}

fn endpoint(errors: Vec<KeyError>) -> Result<()> {
    match errors.first() {
        Some(error) => {
            let message = format!("{}: {}", error.path.join("."), error.message);
            Err(refused(BridgeReason::InvalidEndpoint, message))
        }
        None => Ok(()),
    }
}

/// A name that is given back unless its bridge came to be.
struct Name<'a>(&'a ReferenceBridge, Arc<str>, bool);

impl Drop for Name<'_> {
    fn drop(&mut self) {
        if !self.2 {
            self.0.book().names.remove(&self.1);
        }
    }
}

impl Drop for ReferenceBridge {
    fn drop(&mut self) {
        self.book().lines.values().for_each(|line| line.abort());
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Lifecycle for ReferenceBridge {
    async fn health(&self) -> Health {
        if self.book().closed { Health::Unhealthy("closed".to_owned()) } else { Health::Healthy }
    }

    async fn close(&self, within: Duration) -> Result<()> {
        self.book().closed = true;
        let ids: Vec<_> = self.book().lines.keys().copied().collect();
        let ends = ids.into_iter().map(|id| self.destroy_bridge(id, within));
        futures_util::future::join_all(ends).await.into_iter().collect()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl CommunicationBridge for ReferenceBridge {
    async fn create_bridge(
        &self,
        name: &str,
        source: Protocol,
        target: Protocol,
        config: BridgeConfig,
    ) -> Result<BridgeId> {
        config.validate()?;
        let rules = rules::compile(&config.rules)?;
        endpoint(self.protocol(&source)?.check_source(&config.source))?;
        endpoint(self.protocol(&target)?.check_target(&config.target))?;
        if let Some(dead) = &config.dead_letter {
            endpoint(self.protocol(&dead.protocol)?.check_target(&dead.target))?;
        }
        let mut name = Name(self, name.into(), false);
        {
            let mut book = self.book();
            if book.closed {
                name.2 = true;
                return Err(Error::closed("bridge.create", "the engine"));
            }
            if !book.names.insert(Arc::clone(&name.1)) {
                name.2 = true;
                let message = format!("there is a bridge `{}`; destroy it or take another name", name.1);
                return Err(Error::new(ErrorKind::AlreadyExists, "bridge.create", message).not_applied());
            }
        }
        let line = Arc::new(self.open(&name.1, (&source, &target), config, rules).await?);
        let mut book = self.book();
        book.last += 1;
        let id = BridgeId::new(NonZeroU64::MIN.saturating_add(book.last - 1));
        line.start((id, source, target));
        book.lines.insert(id, line);
        drop(book);
        name.2 = true;
        Ok(id)
    }

    async fn destroy_bridge(&self, id: BridgeId, within: Duration) -> Result<()> {
        let Some(line) = self.known(id)? else { return Ok(()) };
        let (book, name) = (Arc::clone(&self.book), Arc::clone(line.name()));
        let forget = move || {
            let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
            book.lines.remove(&id);
            book.names.remove(&name);
        };
        line.drain(within, forget).await
    }

    async fn send_message_through_bridge(
        &self,
        id: BridgeId,
        message: BridgeMessage,
    ) -> Result<BridgeReceipt> {
        self.line(id)?.send(message).await
    }

    fn bridge_status(&self, id: BridgeId) -> Result<BridgeStatus> {
        Ok(self.line(id)?.status())
    }

    fn bridge_metrics(&self, id: BridgeId) -> Result<BridgeMetrics> {
        Ok(self.line(id)?.metrics())
    }

    fn configure_bridge_routing(&self, id: BridgeId, rules: Vec<RoutingRule>) -> Result<()> {
        self.line(id)?.configure(&rules)
    }

    fn all_bridges(&self) -> Vec<BridgeInfo> {
        let mut all: Vec<_> = self.book().lines.values().map(|line| line.info()).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    async fn monitor_bridge_health(&self, id: BridgeId) -> Result<BridgeHealth> {
        Ok(self.line(id)?.health().await)
    }
}
