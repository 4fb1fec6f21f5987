//! What a case works with: a bridge, its clock, the tap and the other side of its ends.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt;
use onex_spi::bridge::{
    BridgeConfig, BridgeId, BridgeMessage, BridgeReceipt, BridgeRetry, CommunicationBridge, DeadLetter,
    DeadLetterConfig, DeadReason, Disposition, Ledger, MessageId, RoutingRule, Settled,
};
use onex_spi::{BoxFuture, Clock, Effect, Error, ErrorKind, Result};

use super::tap::{Seen, Tap};
use super::{BridgeSetup, Ends, EndsFeature, EndsSetup};
use crate::clock::ManualClock;
use crate::ensure;
use crate::suite::{self, CaseResult, Stop};

/// Makes a bridge.
pub(crate) type Open =
    dyn Fn(BridgeSetup) -> BoxFuture<'static, Result<Arc<dyn CommunicationBridge>>> + Send + Sync;
/// Makes ends.
pub(crate) type OpenEnds = dyn Fn(EndsSetup) -> BoxFuture<'static, Result<Arc<dyn Ends>>> + Send + Sync;

/// The longest real time that a step may take that needs none on the bridge's clock.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// A drain that no case waits out, on the bridge's clock.
pub(super) const DRAIN: Duration = Duration::from_secs(5);
/// The wait before the second attempt; it doubles.
pub(super) const BACKOFF: Duration = Duration::from_millis(50);
/// The attempts of most cases.
pub(super) const ATTEMPTS: u32 = 4;

const SEED: u64 = 0x6f6e_6578;

/// A world that is not opened yet: opening takes a runtime.
pub(crate) struct Source {
    open: Arc<Open>,
    ends: Arc<OpenEnds>,
}

impl Source {
    pub(super) fn new(open: Arc<Open>, ends: Arc<OpenEnds>) -> Self {
        Self { open, ends }
    }

    pub(super) async fn open(self) -> Result<World, Stop> {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let started = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis());
        let prefix = format!("bridge-{}-{started:x}-{run}", std::process::id());
        let manual = ManualClock::new();
        let clock: Arc<dyn Clock> = Arc::new(manual.clone());
        let ends = (self.ends)(EndsSetup::new(Arc::clone(&clock), SEED, prefix)).await?;
        let tap = Tap::new(Arc::clone(&clock));
        let mut protocols = vec![ends.source_protocol(), ends.target_protocol()];
        protocols.dedup_by(|one, other| one.name() == other.name());
        let tapped = protocols.into_iter().map(|protocol| tap.protocol(protocol, ends.clock())).collect();
        let bridge = (self.open)(BridgeSetup::new(clock, SEED, tapped)).await?;
        Ok(World { bridge, clock: manual, tap, ends })
    }
}

/// One case's bridge and its ends.
pub(super) struct World {
    pub(super) bridge: Arc<dyn CommunicationBridge>,
    pub(super) clock: ManualClock,
    pub(super) tap: Tap,
    pub(super) ends: Arc<dyn Ends>,
}

/// The places between which one bridge moves: a source, two routes, a default route and one for dead letters.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) a: String,
    pub(super) b: String,
    pub(super) dead: String,
    /// Source, target and dead-letter target; no rule and no default route; [`ATTEMPTS`] from [`BACKOFF`] without jitter.
    pub(super) config: BridgeConfig,
}

impl Line {
    /// The configuration with one rule for everything, to `a`.
    pub(super) fn all_to_a(&self) -> BridgeConfig {
        self.config.clone().with_rules(vec![RoutingRule::new("true", &self.a)])
    }
}

impl World {
    pub(super) fn needs(&self, feature: EndsFeature) -> CaseResult {
        suite::needs(self.ends.features(), feature)
    }

    pub(super) fn has(&self, feature: EndsFeature) -> bool {
        self.ends.features().has(feature)
    }

    /// Prepares the places of a bridge called `name`.
    pub(super) async fn line(&self, name: &str) -> Result<Line, Stop> {
        let source = self.ends.source(&format!("{name}-in")).await?;
        let target = self.ends.target(None).await?;
        let a = self.ends.route(&format!("{name}-a")).await?;
        let b = self.ends.route(&format!("{name}-b")).await?;
        let dead = self.ends.route(&format!("{name}-dead")).await?;
        let letters =
            DeadLetterConfig::new(self.ends.target_protocol().name(), &dead).with_target(target.clone());
        let retry = BridgeRetry::default().with_max_attempts(ATTEMPTS).with_jitter(false);
        let retry = retry.with_backoff(BACKOFF, Duration::from_secs(30));
        let config =
            BridgeConfig::default().with_ends(source, target).with_dead_letter(letters).with_retry(retry);
        Ok(Line { name: name.to_owned(), a, b, dead, config })
    }

    /// Creates the bridge of a line.
    pub(super) async fn create(&self, line: &Line, config: BridgeConfig) -> Result<BridgeId> {
        let (source, target) = (self.ends.source_protocol().name(), self.ends.target_protocol().name());
        self.bridge.create_bridge(&line.name, source, target, config).await
    }

    /// A bridge that sends everything to `a`.
    pub(super) async fn simple(&self) -> Result<(Line, BridgeId), Stop> {
        let line = self.line("simple").await?;
        let id = self.create(&line, line.all_to_a()).await?;
        Ok((line, id))
    }

    /// Sends one message; no answer breaks `law`.
    pub(super) async fn send(
        &self,
        law: &'static str,
        id: BridgeId,
        message: BridgeMessage,
    ) -> Result<Result<BridgeReceipt>, Stop> {
        within(law, "a send", self.bridge.send_message_through_bridge(id, message)).await
    }

    /// Sends messages, many at a time; the answers in the messages' order.
    pub(super) async fn send_all(
        &self,
        law: &'static str,
        id: BridgeId,
        messages: Vec<BridgeMessage>,
    ) -> Result<Vec<Result<BridgeReceipt>>, Stop> {
        let sends = messages.into_iter().map(|message| self.bridge.send_message_through_bridge(id, message));
        within(law, "sends", futures_util::stream::iter(sends).buffered(1024).collect()).await
    }

    /// Begins sends that go on while the case does other things.
    pub(super) fn begin(&self, id: BridgeId, messages: Vec<BridgeMessage>) -> Sends {
        let start = |message| {
            let bridge = Arc::clone(&self.bridge);
            tokio::spawn(async move { bridge.send_message_through_bridge(id, message).await })
        };
        Sends(messages.into_iter().map(start).collect())
    }

    /// Brings messages to the source of a line.
    pub(super) async fn offer(&self, line: &Line, messages: Vec<BridgeMessage>) -> CaseResult {
        let addresses = self.tap.addresses(&line.name);
        Ok(self.ends.offer(&format!("{}-in", line.name), &addresses, messages).await?)
    }

    /// What arrived by a route so far.
    pub(super) async fn arrived(&self, route: &str) -> Result<Vec<BridgeMessage>, Stop> {
        Ok(self.ends.arrived(route).await?)
    }

    /// The dead letters of a line so far.
    pub(super) async fn dead(&self, line: &Line) -> Result<Vec<DeadLetter>, Stop> {
        let letters = self.arrived(&line.dead).await?.into_iter().map(DeadLetter::from_message);
        letters
            .collect::<Result<_>>()
            .map_err(|error| broken("B7", format!("a dead letter is none: {error:#}")))
    }

    /// The one dead letter of a line.
    pub(super) async fn dead_one(&self, law: &'static str, line: &Line) -> Result<DeadLetter, Stop> {
        let mut dead = self.dead(line).await?;
        match dead.pop() {
            Some(letter) if dead.is_empty() => Ok(letter),
            last => Err(broken(
                law,
                format!("{} dead letters instead of one", dead.len() + usize::from(last.is_some())),
            )),
        }
    }

    /// The ledger, which adds up.
    pub(super) fn ledger(&self, id: BridgeId) -> Result<Ledger, Stop> {
        let metrics = self.bridge.bridge_metrics(id)?;
        ensure!("B1", metrics.ledger.balanced(), "the ledger does not add up: {:?}", metrics.ledger);
        Ok(metrics.ledger)
    }

    /// What the sources were told so far.
    pub(super) fn settled(&self) -> Vec<Settled> {
        let settled = self.tap.seen().into_iter().filter_map(|(_, seen)| match seen {
            Seen::Settled(settled) => Some(settled),
            _ => None,
        });
        settled.collect()
    }

    /// Waits until nothing is in flight.
    pub(super) async fn quiet(&self, law: &'static str, id: BridgeId, received: u64) -> Result<Ledger, Stop> {
        let done = |ledger: &Ledger| ledger.received >= received && ledger.in_flight == 0;
        let mut last = Ledger::default();
        until(law, "everything is settled", || {
            last = self.ledger(id)?;
            Ok(done(&last))
        })
        .await?;
        Ok(last)
    }

    /// Moves the clock to whatever waits next until `done`, at most by `most`.
    pub(super) async fn let_pass(
        &self,
        law: &'static str,
        what: &str,
        most: Duration,
        mut done: impl FnMut() -> Result<bool, Stop>,
    ) -> CaseResult {
        let end = self.clock.now() + most;
        until(law, what, || {
            if done()? {
                return Ok(true);
            }
            if let Some(next) = self.clock.next_deadline().filter(|next| *next <= end) {
                self.clock.advance(next.saturating_duration_since(self.clock.now()));
            }
            Ok(false)
        })
        .await
    }
}

/// Sends under way.
pub(super) struct Sends(Vec<tokio::task::JoinHandle<Result<BridgeReceipt>>>);

impl Sends {
    /// The answers, in the messages' order.
    pub(super) async fn answers(self, law: &'static str) -> Result<Vec<Result<BridgeReceipt>>, Stop> {
        let answers = within(law, "sends", futures_util::future::join_all(self.0)).await?;
        let ended =
            answers.into_iter().map(|answer| answer.map_err(|error| broken("", format!("a send: {error}"))));
        ended.collect()
    }

    /// Drops the futures.
    pub(super) async fn cancel(self) {
        self.0.iter().for_each(tokio::task::JoinHandle::abort);
        // Each is cancelled or has ended; both are what was asked for.
        drop(futures_util::future::join_all(self.0).await);
    }

    pub(super) fn finished(&self) -> usize {
        self.0.iter().filter(|send| send.is_finished()).count()
    }
}

/// The identity of the `number`th message of a case.
pub(super) fn id(number: usize) -> MessageId {
    MessageId::from_u128((0x6f6e_6578 << 96) + number as u128 + 1)
}

/// The `number`th message, whose payload is the object `fields`, such as `"n": 9`.
pub(super) fn json(number: usize, fields: &str) -> BridgeMessage {
    BridgeMessage::new(id(number), format!("{{{fields}}}"))
}

/// Messages `{"n": number}`.
pub(super) fn numbered(numbers: std::ops::Range<usize>) -> Vec<BridgeMessage> {
    numbers.map(|number| json(number, &format!("\"n\": {number}"))).collect()
}

/// What a target says that is away for now.
pub(super) fn down() -> Error {
    Error::new(ErrorKind::Unavailable, "bridge.deliver", "the target is away").not_applied()
}

/// What a target says that will never accept a message.
pub(super) fn never(kind: ErrorKind) -> Error {
    Error::new(kind, "bridge.deliver", "the target refuses the message").not_applied()
}

/// A broken law.
pub(super) fn broken(law: &'static str, message: impl Into<String>) -> Stop {
    Stop::Failed { law, message: message.into() }
}

/// Waits for `event`, which needs no time on the bridge's clock; one that does not come breaks `law`.
pub(super) async fn within<T>(
    law: &'static str,
    what: &str,
    event: impl Future<Output = T> + Send,
) -> Result<T, Stop> {
    tokio::time::timeout(PATIENCE, event)
        .await
        .map_err(|_| broken(law, format!("{what}: nothing within {PATIENCE:?}")))
}

/// Waits until `reached`, for which there is no event; too late breaks `law`.
pub(super) async fn until(
    law: &'static str,
    what: &str,
    mut reached: impl FnMut() -> Result<bool, Stop>,
) -> CaseResult {
    let begin = Instant::now();
    let mut looks = 0;
    while !reached()? {
        if begin.elapsed() > PATIENCE {
            return Err(broken(law, format!("not within {PATIENCE:?}: {what}")));
        }
        looks += 1;
        if looks % 8 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// Checks that a call was refused with `kind`, and changed nothing.
pub(super) fn refused<T: Debug>(
    law: &'static str,
    answer: Result<T>,
    kind: ErrorKind,
    what: &str,
) -> Result<Error, Stop> {
    let error = failed(law, answer, what)?;
    if error.kind() != kind || error.effect() != Effect::NotApplied {
        let seen = error.effect();
        return Err(broken(law, format!("{what}: {error:#} {seen:?} instead of {kind:?} NotApplied")));
    }
    Ok(error)
}

/// Checks that a call failed.
pub(super) fn failed<T: Debug>(law: &'static str, answer: Result<T>, what: &str) -> Result<Error, Stop> {
    match answer {
        Ok(value) => Err(broken(law, format!("{what}: {value:?} where an error is due"))),
        Err(error) => Ok(error),
    }
}

/// Checks that a message was delivered by `route`.
pub(super) fn delivered(
    law: &'static str,
    answer: &Result<BridgeReceipt>,
    route: &str,
    what: &str,
) -> CaseResult {
    match answer.as_ref().map(|receipt| &receipt.disposition) {
        Ok(Disposition::Delivered(to)) if **to == *route => Ok(()),
        other => Err(broken(law, format!("{what}: {other:?} instead of delivered to {route}"))),
    }
}

/// Checks that a message became a dead letter for `reason`.
pub(super) fn buried(
    law: &'static str,
    answer: &Result<BridgeReceipt>,
    reason: DeadReason,
    what: &str,
) -> CaseResult {
    match answer.as_ref().map(|receipt| &receipt.disposition) {
        Ok(Disposition::DeadLettered(seen)) if *seen == reason => Ok(()),
        other => Err(broken(law, format!("{what}: {other:?} instead of dead-lettered for {reason}"))),
    }
}
