//! One bridge: its ends, its ledger and the way of each message.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use onex_spi::bridge::{
    BridgeConfig, BridgeContext, BridgeFault, BridgeHealth, BridgeId, BridgeInfo, BridgeMessage,
    BridgeMetrics, BridgeReason, BridgeReceipt, BridgeSource, BridgeState, BridgeStatus, BridgeTarget,
    DeadLetter, DeadReason, DeliveryTag, Disposition, MessageFormat, MessageId, Overflow, Protocol,
    RoutingRule, Settled, Unmatched,
};
use onex_spi::{Error, ErrorKind, Health, Lifecycle, Result};
use serde_json::Value;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::JoinSet;

use super::rules::{self, Rule};

/// How long one end may think about its health.
const HEALTH: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Dead {
    pub(super) target: Arc<dyn BridgeTarget>,
    pub(super) to: Arc<str>,
}

#[derive(Debug)]
pub(super) struct Line {
    context: BridgeContext,
    limits: Limits,
    source: Arc<dyn BridgeSource>,
    target: Arc<dyn BridgeTarget>,
    dead: Option<Dead>,
    room: Arc<Semaphore>,
    /// A caller wants the room that the source task holds while it waits.
    wanted: Notify,
    state: Mutex<State>,
    changes: watch::Sender<()>,
    ended: watch::Sender<bool>,
    workers: Mutex<JoinSet<()>>,
    keepers: Mutex<JoinSet<()>>,
}

/// The configuration, without the ends' own words, which may hold secrets.
#[derive(Debug)]
struct Limits {
    format: MessageFormat,
    default_route: Option<Arc<str>>,
    unmatched: Unmatched,
    retry: onex_spi::bridge::BridgeRetry,
    overflow: Overflow,
}

#[derive(Debug)]
struct State {
    facts: Option<(BridgeId, Protocol, Protocol)>,
    rules: Arc<Vec<Rule>>,
    source: BridgeState,
    /// The source task waits for a message and holds room for it.
    idle: bool,
    draining: bool,
    metrics: BridgeMetrics,
    owners: BTreeMap<u64, Owned>,
    /// Deliveries that wait for another attempt.
    waiting: usize,
    last_error: Option<Error>,
    broken: Option<String>,
    last_success: Option<Instant>,
    random: fastrand::Rng,
}

#[derive(Debug)]
struct Owned {
    owner: Owner,
    id: MessageId,
    since: Instant,
    _room: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum Owner {
    Tag(DeliveryTag),
    Caller(oneshot::Sender<Result<BridgeReceipt>>),
}

/// The end of a message's way.
type End = (Disposition, Option<BridgeMessage>);
type Ends = (Arc<dyn BridgeSource>, Arc<dyn BridgeTarget>, Option<Dead>);

impl Line {
    pub(super) fn new(
        context: BridgeContext,
        config: BridgeConfig,
        rules: Vec<Rule>,
        (source, target, dead): Ends,
    ) -> Self {
        let state = State {
            facts: None,
            rules: Arc::new(rules),
            source: BridgeState::Running,
            idle: false,
            draining: false,
            metrics: BridgeMetrics::default(),
            owners: BTreeMap::new(),
            waiting: 0,
            last_error: None,
            broken: None,
            last_success: None,
            random: fastrand::Rng::with_seed(context.seed),
        };
        let limits = Limits {
            format: config.format,
            default_route: config.default_route.map(Arc::from),
            unmatched: config.unmatched,
            retry: config.retry,
            overflow: config.overflow,
        };
        Self {
            context,
            limits,
            source,
            target,
            dead,
            room: Arc::new(Semaphore::new(config.in_flight)),
            wanted: Notify::new(),
            state: Mutex::new(state),
            changes: watch::Sender::new(()),
            ended: watch::Sender::new(false),
            workers: Mutex::default(),
            keepers: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.context.bridge
    }

    pub(super) fn start(self: &Arc<Self>, facts: (BridgeId, Protocol, Protocol)) {
        self.state().facts = Some(facts);
        let line = Arc::clone(self);
        lock(&self.workers).spawn(async move { line.pump().await });
    }

    pub(super) fn abort(&self) {
        lock(&self.workers).abort_all();
        lock(&self.keepers).abort_all();
    }

    pub(super) fn configure(&self, rules: &[RoutingRule]) -> Result<()> {
        let rules = rules::compile(rules)?;
        let addresses = self.source.addresses();
        rules.iter().try_for_each(|rule| super::check_route(&*self.target, &addresses, &rule.to))?;
        self.state().rules = Arc::new(rules);
        Ok(())
    }

    /// Takes from the source, one message at a time, until it has ended.
    async fn pump(self: Arc<Self>) {
        // The semaphore is never closed.
        while let Ok(room) = Arc::clone(&self.room).acquire_owned().await {
            let mut into = Vec::new();
            self.state().idle = true;
            let received = tokio::select! {
                biased;
                received = self.source.receive(1, &mut into) => Some(received),
                () = self.wanted.notified() => None,
            };
            self.state().idle = false;
            match received {
                None => drop(room),
                Some(Ok(0)) => {
                    self.state().source = BridgeState::Ended;
                    break;
                }
                Some(Ok(_)) => {
                    if let Some((tag, message)) = into.pop() {
                        self.take(message, Owner::Tag(tag), room);
                    }
                }
                Some(Err(error)) => {
                    let passes = error.is_retryable(true);
                    self.state().last_error = Some(error);
                    if !passes {
                        self.state().source = BridgeState::Failed;
                        break;
                    }
                    drop(room);
                    self.context
                        .clock
                        .sleep_until(self.context.clock.now() + self.limits.retry.initial_backoff)
                        .await;
                }
            }
        }
        self.changes.send_replace(());
    }

    pub(super) async fn send(self: Arc<Self>, message: BridgeMessage) -> Result<BridgeReceipt> {
        const OPERATION: &str = "bridge.send";
        let (size, most) = (message.payload.len(), self.context.message_bytes);
        if size > most {
            let text = format!("the payload has {size} bytes, {most} are allowed; shrink it");
            return Err(Error::new(ErrorKind::TooLarge, OPERATION, text).not_applied());
        }
        let room = Arc::clone(&self.room);
        let room = match Arc::clone(&room).try_acquire_owned() {
            Ok(room) => room,
            Err(_) => {
                let idle = mem::take(&mut self.state().idle);
                if !idle && self.limits.overflow == Overflow::Refuse {
                    let text = "the bridge is full; send again later";
                    return Err(Error::new(ErrorKind::ResourceExhausted, OPERATION, text).not_applied());
                }
                self.wanted.notify_one();
                let closed = |_| Error::closed(OPERATION, self.name());
                room.acquire_owned().await.map_err(closed)?
            }
        };
        let (tell, told) = oneshot::channel();
        if !self.take(message, Owner::Caller(tell), room) {
            return Err(Error::closed(OPERATION, self.name()));
        }
        told.await.unwrap_or_else(|_| Err(drained()))
    }

    /// Writes a message into the ledger and sends it on its way; a draining bridge takes nothing of callers.
    fn take(self: &Arc<Self>, message: BridgeMessage, owner: Owner, room: OwnedSemaphorePermit) -> bool {
        let number = {
            let mut state = self.state();
            if state.draining && matches!(owner, Owner::Caller(_)) {
                return false;
            }
            state.metrics.ledger.received += 1;
            state.metrics.ledger.in_flight += 1;
            state.metrics.bytes += message.payload.len() as u64;
            let number = state.metrics.ledger.received;
            let owned = Owned { owner, id: message.id, since: self.context.clock.now(), _room: room };
            state.owners.insert(number, owned);
            number
        };
        let line = Arc::clone(self);
        lock(&self.workers).spawn(async move {
            let end = line.carry(&message).await;
            line.settle(number, end);
        });
        true
    }

    /// The whole way of one message.
    async fn carry(&self, message: &BridgeMessage) -> End {
        let letter = |reason| {
            let (_, source, target) = self.facts();
            DeadLetter::new(message.clone(), reason, Arc::clone(self.name()), source, target)
        };
        if message.payload.len() > self.context.message_bytes {
            let error = Error::new(ErrorKind::TooLarge, "bridge.receive", "the payload is above the limit");
            return self.bury(letter(DeadReason::TooLarge).with_error(0, &error), error).await;
        }
        let payload = match self.limits.format {
            MessageFormat::Json => match serde_json::from_slice::<Value>(&message.payload) {
                Ok(payload) => payload,
                Err(_) => {
                    let error = Error::new(ErrorKind::Corrupt, "bridge.decode", "the payload is no JSON");
                    return self.bury(letter(DeadReason::DecodeError).with_error(0, &error), error).await;
                }
            },
            _ => Value::Null,
        };
        let rules = Arc::clone(&self.state().rules);
        let (to, rule) = match rules::first(&rules, message, &payload) {
            Ok(Some((number, rule))) => (Arc::clone(&rule.to), Some(number)),
            Ok(None) => match (self.limits.unmatched, &self.limits.default_route) {
                (Unmatched::Drop, _) => return (Disposition::Filtered, None),
                (Unmatched::DefaultRoute, Some(to)) => (Arc::clone(to), None),
                _ => {
                    let error = Error::new(ErrorKind::NotFound, "bridge.route", "no rule takes the message");
                    return self.bury(letter(DeadReason::NoRoute).with_error(0, &error), error).await;
                }
            },
            Err((number, why)) => {
                self.state().metrics.rule_errors += 1;
                let error = Error::new(ErrorKind::InvalidInput, "bridge.route", why);
                let letter =
                    letter(DeadReason::RuleError).with_error(0, &error).with_route(None, Some(number));
                return self.bury(letter, error).await;
            }
        };
        match self.attempt(&self.target, &to, message).await {
            Ok(reply) => (Disposition::Delivered(to), reply),
            Err((attempts, error)) => {
                let reason = match error.kind() {
                    ErrorKind::NotFound => DeadReason::MissingTarget,
                    _ if error.is_retryable(true) => DeadReason::RetriesExhausted,
                    _ => DeadReason::Rejected,
                };
                let letter = letter(reason).with_error(attempts, &error).with_route(Some(to), rule);
                self.bury(letter, error).await
            }
        }
    }

    fn facts(&self) -> (Option<BridgeId>, Protocol, Protocol) {
        match &self.state().facts {
            Some((id, source, target)) => (Some(*id), source.clone(), target.clone()),
            None => (None, Protocol::new(""), Protocol::new("")),
        }
    }

    async fn bury(&self, letter: DeadLetter, error: Error) -> End {
        let Some(dead) = &self.dead else { return (Disposition::Failed(error), None) };
        let reason = letter.reason;
        match self.attempt(&dead.target, &dead.to, &letter.into_message()).await {
            Ok(_) => (Disposition::DeadLettered(reason), None),
            Err((_, error)) => (Disposition::Failed(error), None),
        }
    }

    /// Delivers until it is accepted, refused for good, or given up; then how often it was tried.
    async fn attempt(
        &self,
        target: &Arc<dyn BridgeTarget>,
        to: &Arc<str>,
        message: &BridgeMessage,
    ) -> Result<Option<BridgeMessage>, (u32, Error)> {
        let mut attempts = 1;
        loop {
            let answer = target.deliver(to, std::slice::from_ref(message)).await.pop();
            let error = match answer {
                Some(Ok(reply)) => {
                    let mut state = self.state();
                    (state.broken, state.last_success) = (None, Some(self.context.clock.now()));
                    return Ok(reply);
                }
                Some(Err(error)) => error,
                None => Error::new(ErrorKind::Unclassified, "bridge.deliver", "the target gave no answer"),
            };
            let wait = {
                let mut state = self.state();
                let random = state.random.u64(..);
                let wait = self.limits.retry.wait(attempts, random).filter(|_| error.is_retryable(true));
                state.last_error = Some(error.clone());
                match wait {
                    Some(_) => {
                        (state.waiting, state.metrics.retries) =
                            (state.waiting + 1, state.metrics.retries + 1)
                    }
                    None => state.broken = Some(error.to_string()),
                }
                wait
            };
            let Some(wait) = wait else { return Err((attempts, error)) };
            self.context.clock.sleep_until(self.context.clock.now() + wait).await;
            self.state().waiting -= 1;
            attempts += 1;
        }
    }

    /// Ends a message: the ledger first, then its owner; one that has ended already stays as it is.
    fn settle(&self, number: u64, (disposition, reply): End) {
        let mut state = self.state();
        let Some(owned) = state.owners.remove(&number) else { return };
        let metrics = &mut state.metrics;
        metrics.ledger.in_flight -= 1;
        metrics.busy += self.context.clock.now() - owned.since;
        match &disposition {
            Disposition::Delivered(to) => {
                metrics.ledger.delivered += 1;
                *metrics.routes.entry(Arc::clone(to)).or_default() += 1;
            }
            Disposition::DeadLettered(reason) => {
                metrics.ledger.dead_lettered += 1;
                *metrics.dead_reasons.entry(reason.as_str()).or_default() += 1;
            }
            Disposition::Filtered => metrics.ledger.filtered += 1,
            _ => metrics.ledger.failed += 1,
        }
        drop(state);
        match (owned.owner, disposition) {
            (Owner::Tag(tag), disposition) => {
                self.source.settle(vec![Settled::new(tag, owned.id, disposition).with_reply(reply)]);
            }
            // A caller who is gone has nobody to be told.
            (Owner::Caller(tell), Disposition::Failed(error)) => drop(tell.send(Err(error))),
            (Owner::Caller(tell), disposition) => {
                drop(tell.send(Ok(BridgeReceipt::new(owned.id, disposition, reply))));
            }
        }
        self.changes.send_replace(());
    }

    pub(super) async fn drain(
        self: Arc<Self>,
        within: Duration,
        forget: impl FnOnce() + Send + 'static,
    ) -> Result<()> {
        if mem::replace(&mut self.state().draining, true) {
            // The sender cannot be gone: it lives in `self`.
            let _ = self.ended.subscribe().wait_for(|ended| *ended).await.map(drop);
            return Ok(());
        }
        let (tell, told) = oneshot::channel();
        let line = Arc::clone(&self);
        lock(&self.keepers).spawn(async move {
            let drained = line.empty(within).await;
            forget();
            line.ended.send_replace(true);
            drop(tell.send(drained));
        });
        told.await.unwrap_or_else(|_| Err(drained()))
    }

    async fn empty(&self, within: Duration) -> Result<()> {
        let mut changes = self.changes.subscribe();
        let settled = async {
            while !self.state().owners.is_empty() {
                if changes.changed().await.is_err() {
                    break;
                }
            }
        };
        // The source's close resolves once every tag is settled; what callers sent may take longer.
        let drained = async { futures_util::future::join(self.source.close(within), settled).await.0 };
        let end = self.context.clock.now().checked_add(within);
        let out_of_time = async {
            match end {
                Some(end) => self.context.clock.sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        let drained = tokio::select! {
            biased;
            drained = drained => drained,
            () = out_of_time => Ok(()),
        };
        lock(&self.workers).abort_all();
        let cut: Vec<_> = self.state().owners.keys().copied().collect();
        cut.iter().for_each(|number| self.settle(*number, (Disposition::Failed(self::drained()), None)));
        let ends = [Some(&self.target), self.dead.as_ref().map(|dead| &dead.target)];
        for target in ends.into_iter().flatten() {
            target.close(Duration::ZERO).await?;
        }
        if cut.is_empty() {
            return drained;
        }
        let text = format!("{} messages were failed after {within:?}", cut.len());
        Err(Error::new(ErrorKind::TimedOut, "bridge.destroy", text))
    }

    pub(super) fn metrics(&self) -> BridgeMetrics {
        self.state().metrics.clone()
    }

    pub(super) fn status(&self) -> BridgeStatus {
        let state = self.state();
        BridgeStatus::new(state.now(), state.metrics.ledger.settled(), state.last_error.clone())
    }

    pub(super) fn info(&self) -> BridgeInfo {
        let (id, source, target) = self.facts();
        let id = id.unwrap_or(BridgeId::new(std::num::NonZeroU64::MIN));
        BridgeInfo::new(id, Arc::clone(self.name()), source, target, self.state().now())
    }

    pub(super) async fn health(&self) -> BridgeHealth {
        let (source, target) = (self.ask(&*self.source), self.ask(&*self.target));
        let dead = async {
            match &self.dead {
                Some(dead) => Some(self.ask(&*dead.target).await),
                None => None,
            }
        };
        let (source, target, dead) = tokio::join!(source, target, dead);
        let state = self.state();
        let own = match (&state.broken, state.waiting) {
            (Some(why), _) => Health::Unhealthy(why.clone()),
            (None, 0) => Health::Healthy,
            (None, waiting) => Health::Degraded(format!("{waiting} deliveries wait for another attempt")),
        };
        let all = [Some(&own), Some(&source), Some(&target), dead.as_ref()];
        let worst = all.into_iter().flatten().max_by_key(|health| match health {
            Health::Healthy => 0,
            Health::Degraded(_) => 1,
            _ => 2,
        });
        let worst = worst.cloned().unwrap_or(Health::Healthy);
        let mut health = BridgeHealth::new(worst, source, target, state.metrics.ledger.in_flight);
        health.dead_letter = dead;
        health.last_success = state.last_success.map(|at| self.context.clock.now() - at);
        health
    }

    async fn ask<L: Lifecycle + ?Sized>(&self, end: &L) -> Health {
        tokio::select! {
            health = end.health() => health,
            () = self.context.clock.sleep_until(self.context.clock.now() + HEALTH) => {
                Health::Unhealthy(format!("no answer within {HEALTH:?}"))
            }
        }
    }
}

impl State {
    fn now(&self) -> BridgeState {
        match self.source {
            _ if self.draining => BridgeState::Draining,
            BridgeState::Running if self.waiting > 0 => BridgeState::Degraded,
            source => source,
        }
    }
}

fn drained() -> Error {
    let message = "the bridge ended while the message was in flight; it may have been delivered";
    Error::new(ErrorKind::Closed, "bridge.send", message).with_detail(BridgeFault::new(BridgeReason::Drained))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
