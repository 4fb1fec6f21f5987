//! Between a bridge and its protocols: sees what is taken, attempted and settled, and makes deliveries fail.
//!
//! ```text
//!            receive ◄── Taken ──┐                      ┌─ Attempt ─► script: pass │ refuse │ lose the answer │ hold │ wait
//!   bridge ─┤                    ├─ log, in one order ─┤                                     │
//!            settle ─── Settled ─┘                      └─ Answer ◄──────────── protocol's target
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use onex_spi::bridge::{
    BridgeContext, BridgeMessage, BridgeProtocol, BridgeSource, BridgeTarget, DeliveryTag, MessageId,
    Protocol, Settled,
};
use onex_spi::provider::{KeyError, Table};
use onex_spi::{Clock, Error, Health, Lifecycle, Result};
use tokio::sync::{Notify, watch};

/// One thing that was seen between the bridge `bridge` and a protocol.
#[allow(clippy::exhaustive_enums, reason = "cases match on every kind")]
#[derive(Clone, Debug)]
pub enum Seen {
    /// The source handed out a message.
    Taken(DeliveryTag, BridgeMessage),
    /// A message was given to a target, at this time.
    Attempt(Arc<str>, BridgeMessage, Instant),
    /// The target answered, accepting it or not.
    Answer(Arc<str>, MessageId, bool),
    /// The bridge settled a tag.
    Settled(Settled),
    /// An end was opened.
    Opened,
    /// An end was closed or dropped.
    Ended,
}

/// What becomes of one attempt.
#[allow(clippy::exhaustive_enums, reason = "the tap must handle every fate")]
#[derive(Clone, Debug)]
pub enum Fate {
    /// The target answers.
    Pass,
    /// The target answers, and this is its reply.
    Reply(BridgeMessage),
    /// The target never hears of it.
    Refuse(Error),
    /// The target has it; its answer is lost.
    LoseAnswer(Error),
    /// The target hears of it once [`Tap::release`] was called.
    Hold,
    /// The target hears of it after this time on the bridge's clock.
    After(Duration),
}

/// What a script is asked about.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The route.
    pub route: &'a str,
    /// The message.
    pub message: &'a BridgeMessage,
    /// Which attempt this is of this id by this route, from 1.
    pub attempt: u32,
    /// Which message this is of those that take this route, from 1.
    pub ordinal: u64,
    /// When.
    pub at: Instant,
}

type Script = dyn Fn(&Attempt<'_>) -> Fate + Send + Sync;

/// The handle of everything that stands between one bridge and its protocols; clones share it.
#[derive(Clone)]
pub struct Tap(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    log: Mutex<Log>,
    script: Mutex<Arc<Script>>,
    released: watch::Sender<bool>,
    /// By bridge: what its source is to answer with, an error or its end.
    interruptions: Mutex<BTreeMap<Arc<str>, Vec<Result<usize>>>>,
    interrupted: Notify,
    health: watch::Sender<Option<Health>>,
    hang: watch::Sender<bool>,
}

#[derive(Default)]
struct Log {
    seen: Vec<(Arc<str>, Seen)>,
    /// By route and id: which message of the route it is, and the attempts so far.
    attempts: BTreeMap<(Arc<str>, MessageId), (u64, u32)>,
    ordinals: BTreeMap<Arc<str>, u64>,
    addresses: BTreeMap<Arc<str>, Vec<String>>,
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").field("seen", &self.log().seen.len()).finish_non_exhaustive()
    }
}

impl Tap {
    /// Makes a tap that changes nothing; `clock` is the bridge's.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            clock,
            log: Mutex::default(),
            script: Mutex::new(Arc::new(|_| Fate::Pass)),
            released: watch::Sender::new(false),
            interruptions: Mutex::default(),
            interrupted: Notify::new(),
            health: watch::Sender::new(None),
            hang: watch::Sender::new(false),
        }))
    }

    /// The protocol, tapped; its ends run on `clock`.
    #[must_use]
    pub fn protocol(&self, good: Arc<dyn BridgeProtocol>, clock: Arc<dyn Clock>) -> Arc<dyn BridgeProtocol> {
        Arc::new(Tapped { good, clock, tap: self.clone() })
    }

    /// Decides the fate of every attempt from now on.
    pub fn script(&self, script: impl Fn(&Attempt<'_>) -> Fate + Send + Sync + 'static) {
        *self.0.script.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(script);
    }

    /// Lets go of everything that is held, until [`Tap::hold`].
    pub fn release(&self) {
        self.0.released.send_replace(true);
    }

    /// Holds again what a script holds.
    pub fn hold(&self) {
        self.0.released.send_replace(false);
    }

    /// Makes the source of `bridge` answer with `error` once.
    pub fn fail_source(&self, bridge: &str, error: Error) {
        self.interrupt(bridge, Err(error));
    }

    /// Makes the source of `bridge` say that it has ended.
    pub fn end_source(&self, bridge: &str) {
        self.interrupt(bridge, Ok(0));
    }

    fn interrupt(&self, bridge: &str, answer: Result<usize>) {
        self.interruptions().entry(bridge.into()).or_default().push(answer);
        self.0.interrupted.notify_waiters();
    }

    fn interruptions(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Vec<Result<usize>>>> {
        self.0.interruptions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What every target says of itself from now on, instead of what it says.
    pub fn set_health(&self, health: Health) {
        self.0.health.send_replace(Some(health));
    }

    /// Makes every target silent about its health until [`Tap::release`].
    pub fn hang_health(&self) {
        self.0.hang.send_replace(true);
    }

    /// Everything seen so far, in order, with the bridge that it concerned.
    #[must_use]
    pub fn seen(&self) -> Vec<(Arc<str>, Seen)> {
        self.log().seen.clone()
    }

    /// Counts what was seen.
    #[must_use]
    pub fn count(&self, what: impl Fn(&Seen) -> bool) -> usize {
        self.log().seen.iter().filter(|(_, seen)| what(seen)).count()
    }

    /// The attempts to deliver a message by a route so far.
    #[must_use]
    pub fn attempts(&self, route: &str, id: MessageId) -> u32 {
        self.log().attempts.get(&(Arc::from(route), id)).map_or(0, |(_, attempts)| *attempts)
    }

    /// The addresses of the opened source of `bridge`.
    #[must_use]
    pub fn addresses(&self, bridge: &str) -> Vec<String> {
        self.log().addresses.get(bridge).cloned().unwrap_or_default()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.0.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn see(&self, bridge: &Arc<str>, seen: Seen) {
        self.log().seen.push((Arc::clone(bridge), seen));
    }

    /// Writes down an attempt and asks the script.
    fn attempt(&self, bridge: &Arc<str>, route: &Arc<str>, message: &BridgeMessage) -> Fate {
        let at = self.0.clock.now();
        let (ordinal, attempt) = {
            let mut log = self.log();
            let log = &mut *log;
            log.seen.push((Arc::clone(bridge), Seen::Attempt(Arc::clone(route), message.clone(), at)));
            let known = log.attempts.entry((Arc::clone(route), message.id)).or_insert_with(|| {
                let ordinal = log.ordinals.entry(Arc::clone(route)).or_default();
                *ordinal += 1;
                (*ordinal, 0)
            });
            known.1 += 1;
            *known
        };
        let script = Arc::clone(&self.0.script.lock().unwrap_or_else(PoisonError::into_inner));
        script(&Attempt { route, message, attempt, ordinal, at })
    }

    async fn released(&self) {
        // The sender lives in `self`: it cannot be gone.
        let _ = self.0.released.subscribe().wait_for(|released| *released).await;
    }

    /// The next answer that the source of `bridge` gives instead of messages.
    async fn interruption(&self, bridge: &Arc<str>) -> Result<usize> {
        loop {
            let mut woken = std::pin::pin!(self.0.interrupted.notified());
            woken.as_mut().enable();
            let next =
                self.interruptions().get_mut(bridge).filter(|all| !all.is_empty()).map(|all| all.remove(0));
            if let Some(next) = next {
                return next;
            }
            woken.await;
        }
    }
}

#[derive(Debug)]
struct Tapped {
    good: Arc<dyn BridgeProtocol>,
    clock: Arc<dyn Clock>,
    tap: Tap,
}

impl Tapped {
    fn context(&self, context: &BridgeContext) -> BridgeContext {
        let mut own = context.clone();
        own.clock = Arc::clone(&self.clock);
        own
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BridgeProtocol for Tapped {
    fn name(&self) -> Protocol {
        self.good.name()
    }

    fn check_source(&self, config: &Table) -> Vec<KeyError> {
        self.good.check_source(config)
    }

    fn check_target(&self, config: &Table) -> Vec<KeyError> {
        self.good.check_target(config)
    }

    async fn source(&self, config: Table, context: &BridgeContext) -> Result<Arc<dyn BridgeSource>> {
        let good = self.good.source(config, &self.context(context)).await?;
        let open = Open::new(&self.tap, &context.bridge);
        self.tap.log().addresses.insert(Arc::clone(&context.bridge), good.addresses());
        Ok(Arc::new(TappedSource { good, open }))
    }

    async fn target(&self, config: Table, context: &BridgeContext) -> Result<Arc<dyn BridgeTarget>> {
        let good = self.good.target(config, &self.context(context)).await?;
        Ok(Arc::new(TappedTarget { good, open: Open::new(&self.tap, &context.bridge) }))
    }
}

/// An end that is open until it is dropped.
#[derive(Debug)]
struct Open {
    tap: Tap,
    bridge: Arc<str>,
}

impl Open {
    fn new(tap: &Tap, bridge: &Arc<str>) -> Self {
        tap.see(bridge, Seen::Opened);
        Self { tap: tap.clone(), bridge: Arc::clone(bridge) }
    }

    fn see(&self, seen: Seen) {
        self.tap.see(&self.bridge, seen);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.see(Seen::Ended);
    }
}

#[derive(Debug)]
struct TappedSource {
    good: Arc<dyn BridgeSource>,
    open: Open,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Lifecycle for TappedSource {
    async fn health(&self) -> Health {
        self.good.health().await
    }

    async fn close(&self, within: Duration) -> Result<()> {
        self.good.close(within).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BridgeSource for TappedSource {
    async fn receive(&self, max: usize, into: &mut Vec<(DeliveryTag, BridgeMessage)>) -> Result<usize> {
        let before = into.len();
        let count = tokio::select! {
            biased;
            answer = self.open.tap.interruption(&self.open.bridge) => return answer,
            count = self.good.receive(max, into) => count?,
        };
        for (tag, message) in &into[before..] {
            self.open.see(Seen::Taken(*tag, message.clone()));
        }
        Ok(count)
    }

    fn settle(&self, settled: Vec<Settled>) {
        for one in &settled {
            self.open.see(Seen::Settled(one.clone()));
        }
        self.good.settle(settled);
    }

    fn addresses(&self) -> Vec<String> {
        self.good.addresses()
    }
}

#[derive(Debug)]
struct TappedTarget {
    good: Arc<dyn BridgeTarget>,
    open: Open,
}

impl TappedTarget {
    /// Waits for what must be waited for, then gives the target what it shall hear of.
    async fn pour(
        &self,
        to: &Arc<str>,
        messages: &[BridgeMessage],
        fates: &[Fate],
    ) -> Vec<Result<Option<BridgeMessage>>> {
        let tap = &self.open.tap;
        if fates.iter().any(|fate| matches!(fate, Fate::Hold)) {
            tap.released().await;
        }
        let wait = fates.iter().filter_map(|fate| match fate {
            Fate::After(wait) => Some(*wait),
            _ => None,
        });
        if let Some(wait) = wait.max() {
            tap.0.clock.sleep_until(tap.0.clock.now() + wait).await;
        }
        let heard = messages.iter().zip(fates).filter(|(_, fate)| !matches!(fate, Fate::Refuse(_)));
        let heard: Vec<_> = heard.map(|(message, _)| message.clone()).collect();
        let mut answers = self.good.deliver(to, &heard).await.into_iter();
        let mut answer = || {
            let few =
                || Error::new(onex_spi::ErrorKind::Unclassified, "bridge.deliver", "an answer is missing");
            answers.next().unwrap_or_else(|| Err(few()))
        };
        let fates = fates.iter().map(|fate| match fate {
            Fate::Refuse(error) => Err(error.clone()),
            Fate::LoseAnswer(error) => answer().and_then(|_| Err(error.clone())),
            Fate::Reply(reply) => answer().map(|_| Some(reply.clone())),
            Fate::Pass | Fate::Hold | Fate::After(_) => answer(),
        });
        fates.collect()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Lifecycle for TappedTarget {
    async fn health(&self) -> Health {
        if *self.open.tap.0.hang.borrow() {
            self.open.tap.released().await;
        }
        let told = self.open.tap.0.health.borrow().clone();
        match told {
            Some(health) => health,
            None => self.good.health().await,
        }
    }

    async fn close(&self, within: Duration) -> Result<()> {
        self.good.close(within).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BridgeTarget for TappedTarget {
    fn check_route(&self, to: &str) -> Result<()> {
        self.good.check_route(to)
    }

    fn address(&self, to: &str) -> String {
        self.good.address(to)
    }

    async fn deliver(&self, to: &Arc<str>, messages: &[BridgeMessage]) -> Vec<Result<Option<BridgeMessage>>> {
        let Open { tap, bridge } = &self.open;
        let fates: Vec<_> = messages.iter().map(|message| tap.attempt(bridge, to, message)).collect();
        let answers = self.pour(to, messages, &fates).await;
        for (message, answer) in messages.iter().zip(&answers) {
            self.open.see(Seen::Answer(Arc::clone(to), message.id, answer.is_ok()));
        }
        answers
    }
}
