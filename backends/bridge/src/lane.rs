//! The task that moves the messages of one bridge: of its source, and of callers.
//!
//! ```text
//!  source.receive(share) ─┐ take: received, in_flight += n      sort: one rule set a batch      ┌► deliver(to, group) ─┐
//!  inbox: callers ────────┴────────────────────────────────────► groups by route ──────────────┴◄─ retries, when due ◄┤ for now
//!                                                                     │ dead letters                                    │
//!  source.settle, answers ◄──── settle: one lock, -in_flight ◄────────┴──────────────◄ delivered, for good, used up ◄──┘
//! ```
//!
//! One task, so that the places (`in_flight`) need no lock: what `held` and the share given to a pending `receive` leave is
//! for callers, and a pending `receive` is recalled where callers need its share. It was polled before, so neither starves.
//! Groups are delivered side by side: one that hangs holds up nothing but its own places.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use onex_spi::bridge::{BridgeMessage, DeadLetter, DeadReason, DeliveryTag, Disposition, Overflow};
use onex_spi::{BoxFuture, Error, Result, Timer};

use crate::asking::Asking;
use crate::batch::Batch;
use crate::books::SourceState;
use crate::bridge::Bridge;
use crate::conditions::{Scratch, Verdict};
use crate::error;
use crate::held::{Group, Groups, Held, Owner, Retries};
use crate::inbox::Ending;

/// How often the lane goes round in one poll.
const ROUNDS: u32 = 64;

type Answers = Vec<Result<Option<BridgeMessage>>>;
type Delivered = (u64, Vec<BridgeMessage>, Answers);
type Receiving<'a> = BoxFuture<'a, Result<usize>>;

pub(crate) struct Lane {
    bridge: Arc<Bridge>,
    /// The messages taken and not settled.
    held: usize,
    deliveries: FuturesUnordered<BoxFuture<'static, Delivered>>,
    /// What the deliveries are of; outside of them, so that it outlives one that is cut off.
    flying: BTreeMap<u64, Flight>,
    flights: u64,
    retries: Retries,
    retry_timer: Box<dyn Timer>,
    asking: Asking,
    /// Whether callers use this bridge: then they keep a share of the places.
    callers: bool,
    draining: bool,
    random: fastrand::Rng,
    scratch: Scratch,
}

struct Flight {
    to: Arc<str>,
    dead: bool,
    held: Vec<Held>,
}

/// Why the lane looks up from its waiting.
enum Event {
    Received(Result<usize>),
    /// The source is to be asked anew, with another share; callers first where they wait.
    Again {
        callers_first: bool,
    },
    Done,
    Cut,
}

impl Lane {
    pub(crate) fn new(bridge: Arc<Bridge>, seed: u64) -> Self {
        Self {
            held: 0,
            deliveries: FuturesUnordered::new(),
            flying: BTreeMap::new(),
            flights: 0,
            retries: Retries::default(),
            retry_timer: bridge.clock.timer(),
            asking: Asking::new(bridge.clock.timer()),
            callers: false,
            draining: false,
            random: fastrand::Rng::with_seed(seed),
            scratch: Scratch::default(),
            bridge,
        }
    }

    /// Moves messages until the bridge has drained or is cut off; answers how many messages were cut off.
    pub(crate) async fn run(mut self) -> usize {
        let source = Arc::clone(&self.bridge.source);
        let mut into: Vec<(DeliveryTag, BridgeMessage)> = Vec::new();
        let mut callers_first = false;
        loop {
            if callers_first {
                self.take_callers(self.room());
            }
            let share = self.share();
            let event = {
                let mut receive = (share > 0).then(|| source.receive(share, &mut into));
                poll_fn(|cx| self.poll(cx, receive.as_mut(), share)).await
            };
            callers_first = matches!(event, Event::Again { callers_first: true });
            // A recalled source may have put something there before.
            self.take_source(&mut into);
            match event {
                Event::Received(Ok(0)) => self.source_ended(),
                Event::Received(Ok(_)) => {
                    self.source_works();
                    // A source that always has something must not keep the thread from everybody else.
                    tokio::task::yield_now().await;
                }
                Event::Received(Err(error)) => self.source_met(error),
                Event::Again { .. } => {}
                Event::Done => return 0,
                Event::Cut => return self.cut(),
            }
        }
    }

    fn room(&self) -> usize {
        self.bridge.limits.in_flight.saturating_sub(self.held)
    }

    /// How many messages the source may hand out now.
    fn share(&self) -> usize {
        match self.asking.is_now() {
            true if self.callers && !self.draining => self.room().div_ceil(2),
            true => self.room(),
            false => 0,
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut receive: Option<&mut Receiving<'_>>,
        share: usize,
    ) -> Poll<Event> {
        for _ in 0..ROUNDS {
            let found = self.bridge.inbox.poll(cx);
            if found.ending == Ending::Cut {
                return Poll::Ready(Event::Cut);
            }
            if found.ending == Ending::Drain && !self.draining {
                self.draining = true;
                // Nobody waits for a source to recover that is closing: it says now whether it still has something.
                self.asking.hurry();
                let bridge = Arc::clone(&self.bridge);
                bridge.inbox.refuse_all(|| error::closed(bridge.id));
                continue;
            }
            while let Poll::Ready(Some(delivered)) = self.deliveries.poll_next_unpin(cx) {
                self.answered(delivered);
            }
            if let Some(due) = self.retries.next_due()
                && self.retry_timer.poll_at(due, cx).is_ready()
            {
                self.retry();
                continue;
            }
            self.asking.poll_pause(cx);
            let free = self.room().saturating_sub(share);
            if found.waiting > 0 && free > 0 {
                self.take_callers(free);
                continue;
            }
            if let Some(receive) = receive.as_deref_mut()
                && let Poll::Ready(received) = receive.as_mut().poll(cx)
            {
                return Poll::Ready(Event::Received(received));
            }
            if found.waiting > 0 && share > 0 {
                return Poll::Ready(Event::Again { callers_first: true });
            }
            if found.waiting > 0 && self.bridge.limits.overflow == Overflow::Refuse {
                let bridge = Arc::clone(&self.bridge);
                bridge.inbox.refuse_all(|| error::full(&bridge.name, bridge.limits.in_flight));
                continue;
            }
            if share == 0 && self.asking.is_now() && self.room() > 0 {
                return Poll::Ready(Event::Again { callers_first: false });
            }
            if self.draining && self.held == 0 && self.asking.is_over() {
                return Poll::Ready(Event::Done);
            }
            return Poll::Pending;
        }
        // Attempts without a pause between them must not keep the thread from everybody else.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn take_source(&mut self, into: &mut Vec<(DeliveryTag, BridgeMessage)>) {
        if !into.is_empty() {
            let messages = into.len();
            let bytes = into.iter().map(|(_, message)| message.payload.len() as u64).sum();
            self.sort(messages, bytes, into.drain(..).map(|(tag, message)| (Owner::Source(tag), message)));
        }
    }

    fn take_callers(&mut self, most: usize) {
        let mut taken = Vec::new();
        let mut bytes = 0;
        let bridge = Arc::clone(&self.bridge);
        bridge.inbox.take(most, |message, answer| {
            bytes += message.payload.len() as u64;
            taken.push((Owner::Caller(answer), message));
        });
        if !taken.is_empty() {
            self.callers = true;
            self.sort(taken.len(), bytes, taken.into_iter());
        }
    }

    /// Takes a batch, finds the way of each message, and sends them on it.
    fn sort(&mut self, count: usize, bytes: u64, messages: impl Iterator<Item = (Owner, BridgeMessage)>) {
        let bridge = Arc::clone(&self.bridge);
        self.held += count;
        bridge.books().take(count as u64, bytes);
        let mut batch = Batch::at(bridge.clock.now());
        batch.groups = Groups::with_room(count);
        let rules = bridge.rules.load();
        for (owner, message) in messages {
            let mut held = Held::new(message.id, owner, batch.now);
            if message.payload.len() > bridge.limits.message_bytes {
                let error = error::too_large(message.payload.len(), bridge.limits.message_bytes);
                self.dies(DeadReason::TooLarge, Some(error), None, message, held, &mut batch);
                continue;
            }
            match rules.decide(&message, &mut self.scratch) {
                Verdict::Route { to, rule } => {
                    held.rule = rule;
                    batch.groups.add(to, false, message, held);
                }
                Verdict::Drop => {
                    batch.entry.filtered += 1;
                    batch.add(held, Disposition::Filtered, None);
                }
                Verdict::NoRoute => {
                    self.dies(DeadReason::NoRoute, None, None, message, held, &mut batch);
                }
                Verdict::RuleError { rule, error } => {
                    batch.rule_errors += 1;
                    held.rule = rule;
                    self.dies(DeadReason::RuleError, Some(error), None, message, held, &mut batch);
                }
                Verdict::Undecodable(error) => {
                    self.dies(DeadReason::DecodeError, Some(error), None, message, held, &mut batch);
                }
            }
        }
        batch.groups.drain().for_each(|group| self.deliver(group));
        if batch.rule_errors > 0 || batch.entry.failed + batch.entry.filtered > 0 {
            self.settle(batch);
        }
    }

    fn deliver(&mut self, group: Group) {
        let Group { to, dead, messages, held } = group;
        let target = match &self.bridge.dead {
            Some(end) if dead => Arc::clone(&end.target),
            _ => Arc::clone(&self.bridge.target),
        };
        self.flights += 1;
        let flight = self.flights;
        self.flying.insert(flight, Flight { to: to.clone(), dead, held });
        self.deliveries.push(Box::pin(async move {
            let answers = target.deliver(&to, &messages).await;
            (flight, messages, answers)
        }));
    }

    /// Sends each message of a delivery on: to its end, to another attempt, or to the dead letters.
    fn answered(&mut self, (flight, messages, mut answers): Delivered) {
        let Some(Flight { to, dead, held }) = self.flying.remove(&flight) else { return };
        let mut batch = Batch::at(self.bridge.clock.now());
        if answers.len() != messages.len() {
            let error = error::answers(answers.len(), messages.len());
            answers.resize_with(messages.len(), || Err(error.clone()));
        }
        batch.settled.reserve(messages.len());
        let mut delivered = 0;
        for ((message, mut held), answer) in messages.into_iter().zip(held).zip(answers) {
            batch.retries += u64::from(held.attempts > 0);
            held.attempts += 1;
            let error = match answer {
                Ok(reply) => {
                    match held.dead {
                        // What the dead-letter target replied is no reply to the message.
                        Some((reason, _)) => {
                            batch.entry.dead.push((reason, 1));
                            batch.add(held, Disposition::DeadLettered(reason), None);
                        }
                        None => {
                            delivered += 1;
                            batch.add(held, Disposition::Delivered(to.clone()), reply);
                        }
                    }
                    continue;
                }
                Err(error) => error,
            };
            let wait = if error.is_retryable(true) {
                self.bridge.limits.retry.wait(held.attempts, self.random.u64(..))
            } else {
                None
            };
            if let Some(due) = wait.and_then(|wait| batch.now.checked_add(wait)) {
                batch.troubled += usize::from(!held.troubled);
                held.troubled = true;
                batch.entry.error = Some(error);
                self.retries.add(due, &to, dead, message, held);
            } else if dead {
                let error = error::dead_letter(
                    held.dead.as_ref().map(|(reason, cause)| (*reason, cause.as_ref())),
                    &error,
                );
                batch.entry.error = Some(error.clone());
                batch.entry.for_good = true;
                batch.fail(held, error);
            } else {
                let reason = error::dead_reason(&error);
                batch.entry.error = Some(error.clone());
                batch.entry.for_good = true;
                self.dies(reason, Some(error), Some(&to), message, held, &mut batch);
            }
        }
        if delivered > 0 {
            batch.entry.delivered = Some((to, delivered));
        }
        batch.groups.drain().for_each(|group| self.deliver(group));
        self.settle(batch);
    }

    /// Makes a dead letter of a message, or a failure where there is nowhere to put one.
    fn dies(
        &self,
        reason: DeadReason,
        cause: Option<Error>,
        route: Option<&Arc<str>>,
        message: BridgeMessage,
        mut held: Held,
        batch: &mut Batch,
    ) {
        let bridge = &*self.bridge;
        tracing::debug!(bridge = &*bridge.name, id = %held.id, %reason, error = cause.as_ref().map(tracing::field::display), "no delivery");
        let Some(end) = &bridge.dead else {
            let error = cause.unwrap_or_else(|| error::no_route(&bridge.name));
            batch.entry.error = Some(error.clone());
            batch.fail(held, error);
            return;
        };
        let (source, target) = bridge.protocols.clone();
        let mut letter = DeadLetter::new(message, reason, bridge.name.clone(), source, target);
        if let Some(error) = &cause {
            letter = letter.with_error(held.attempts, error);
        }
        let rule = (held.rule > 0).then_some(held.rule as usize);
        let message = letter.with_route(route.cloned(), rule).into_message();
        held.attempts = 0;
        held.dead = Some((reason, cause));
        batch.groups.add(&end.to, true, message, held);
    }

    /// Writes down what became of messages, then tells it.
    fn settle(&mut self, batch: Batch) {
        let Batch { now, entry, settled, answers, rule_errors, retries, troubled, untroubled, .. } = batch;
        self.held -= settled.len() + answers.len();
        {
            let mut books = self.bridge.books();
            books.metrics.rule_errors += rule_errors;
            books.metrics.retries += retries;
            books.waiting = (books.waiting + troubled).saturating_sub(untroubled);
            books.settle(entry, now);
        }
        if !settled.is_empty() {
            self.bridge.source.settle(settled);
        }
        for (answer, outcome) in answers {
            // A caller that left does not wait for its receipt; the message is counted all the same (B11).
            let _ = answer.send(outcome);
        }
    }

    fn retry(&mut self) {
        let mut groups = Groups::default();
        self.retries.take_due(self.bridge.clock.now(), &mut groups);
        groups.drain().for_each(|group| self.deliver(group));
    }

    fn source_works(&mut self) {
        if self.asking.works() {
            self.bridge.books().source = SourceState::Open;
        }
    }

    fn source_ended(&mut self) {
        self.asking.end();
        self.bridge.books().source = SourceState::Ended;
        tracing::info!(bridge = &*self.bridge.name, "the source has ended");
    }

    fn source_met(&mut self, error: Error) {
        let bridge = &self.bridge;
        let random = self.random.u64(..);
        let state = match self.asking.met(&error, &bridge.limits.retry, bridge.clock.now(), random) {
            Some(wait) => {
                tracing::warn!(bridge = &*bridge.name, %error, ?wait, "the source met an error and is asked again");
                SourceState::Troubled
            }
            None => {
                tracing::error!(bridge = &*bridge.name, %error, "the source has failed");
                SourceState::Failed
            }
        };
        bridge.books().source_error(error, state);
    }

    /// Fails whatever is not settled, and answers how much that was.
    fn cut(&mut self) -> usize {
        self.deliveries.clear();
        let bridge = Arc::clone(&self.bridge);
        let flying = std::mem::take(&mut self.flying).into_values().flat_map(|flight| flight.held);
        let mut batch = Batch::at(bridge.clock.now());
        for held in flying.chain(self.retries.take_all()) {
            batch.fail(held, error::drained(bridge.id));
        }
        let cut = batch.settled.len() + batch.answers.len();
        if cut > 0 {
            self.settle(batch);
        }
        bridge.inbox.refuse_all(|| error::closed(bridge.id));
        cut
    }
}

impl Drop for Lane {
    /// Reached with messages in flight only where the task was cut off: with the engine, its runtime, or by a panic of an end.
    fn drop(&mut self) {
        self.bridge.inbox.end(Ending::Cut);
        let cut = self.cut();
        if std::thread::panicking() {
            let error = error::panicked(self.bridge.id);
            tracing::error!(bridge = &*self.bridge.name, cut, %error, "the bridge ended");
            self.bridge.books().source_error(error, SourceState::Failed);
        }
    }
}
