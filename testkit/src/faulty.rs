//! Seeded faults over any port: refused calls, delays, lost answers.
//!
//! ```text
//!  caller ─► Faulty<P> ─► wait (plan.delay) ─┬─ refuse ──────────────────────────► Unavailable, NotApplied
//!                                            ├─► engine ─► answer ── lose ───────► TimedOut, Unknown
//!                                            └─► engine ─► answer ───────────────► answer
//! ```
//!
//! One seed, one sequence of calls: one sequence of faults. Everything that a port opens (a producer, a consumer)
//! draws from a sequence of its own, so that calls on one do not shift the faults of another.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use onex_spi::{Clock, Error, ErrorKind, Result};

/// How often an engine is made to misbehave.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FaultPlan {
    /// The seed of every draw.
    pub seed: u64,
    /// The probability that a call never reaches the engine.
    pub refuse: f64,
    /// The longest wait before a call; each wait is drawn between zero and this.
    pub delay: Duration,
    /// The probability that a call is made and its answer is lost.
    pub lose_answer: f64,
}

impl FaultPlan {
    /// A plan without faults.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, refuse: 0.0, delay: Duration::ZERO, lose_answer: 0.0 }
    }

    /// Sets the probability of a refusal.
    ///
    /// # Panics
    /// Where it is not between 0 and 1.
    #[must_use]
    pub fn with_refuse(mut self, probability: f64) -> Self {
        self.refuse = checked(probability);
        self
    }

    /// Sets the longest wait before a call.
    #[must_use]
    pub fn with_delay(mut self, longest: Duration) -> Self {
        self.delay = longest;
        self
    }

    /// Sets the probability of a lost answer.
    ///
    /// # Panics
    /// Where it is not between 0 and 1.
    #[must_use]
    pub fn with_lose_answer(mut self, probability: f64) -> Self {
        self.lose_answer = checked(probability);
        self
    }
}

fn checked(probability: f64) -> f64 {
    assert!((0.0..=1.0).contains(&probability), "{probability} is no probability");
    probability
}

/// What becomes of one call.
#[allow(clippy::exhaustive_enums, reason = "a wrapper must handle every fate")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing: the engine answers.
    Pass,
    /// The engine never hears of it.
    Refuse,
    /// The engine does it, the caller is not told.
    LoseAnswer,
}

/// The faults so far.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// Calls, or records of a batch, that never reached the engine.
    pub refused: u64,
    /// Calls, or records of a batch, whose answer was lost.
    pub lost: u64,
}

#[derive(Debug, Default)]
struct Counts {
    refused: AtomicU64,
    lost: AtomicU64,
}

impl Counts {
    fn read(&self) -> FaultCounts {
        FaultCounts { refused: self.refused.load(Ordering::Relaxed), lost: self.lost.load(Ordering::Relaxed) }
    }
}

/// A sequence of faults by plan; what a wrapper of a port asks before each call.
pub struct Faults {
    plan: FaultPlan,
    clock: Arc<dyn Clock>,
    random: Mutex<fastrand::Rng>,
    own: Counts,
    all: Arc<Counts>,
}

impl Faults {
    /// Begins the sequence of `plan`; `clock` measures the delays.
    #[must_use]
    pub fn new(plan: FaultPlan, clock: Arc<dyn Clock>) -> Self {
        Self::with_counts(plan, clock, Arc::default())
    }

    fn with_counts(plan: FaultPlan, clock: Arc<dyn Clock>, all: Arc<Counts>) -> Self {
        let random = Mutex::new(fastrand::Rng::with_seed(plan.seed));
        Self { plan, clock, random, own: Counts::default(), all }
    }

    /// Begins a sequence of its own for something that the port opened; it is counted here too.
    #[must_use]
    pub fn branch(&self) -> Self {
        let plan = FaultPlan { seed: self.with_random(|random| random.u64(..)), ..self.plan };
        Self::with_counts(plan, Arc::clone(&self.clock), Arc::clone(&self.all))
    }

    fn with_random<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.random.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Draws the fate of the next call; the caller counts what comes of it.
    pub fn draw(&self) -> Fate {
        let draw = self.with_random(fastrand::Rng::f64);
        if draw < self.plan.refuse {
            Fate::Refuse
        } else if draw < self.plan.refuse + (1.0 - self.plan.refuse) * self.plan.lose_answer {
            Fate::LoseAnswer
        } else {
            Fate::Pass
        }
    }

    /// Waits as long as the plan says.
    ///
    /// # Cancellation
    /// Leaves nothing behind.
    pub async fn delay(&self) {
        if self.plan.delay.is_zero() {
            return;
        }
        let part = self.with_random(fastrand::Rng::f64);
        self.clock.sleep_until(self.clock.now() + self.plan.delay.mul_f64(part)).await;
    }

    /// Counts a refusal and makes its error.
    pub fn refused(&self, operation: &'static str) -> Error {
        self.own.refused.fetch_add(1, Ordering::Relaxed);
        self.all.refused.fetch_add(1, Ordering::Relaxed);
        let text = format!("refused by the fault plan of seed {}", self.plan.seed);
        Error::new(ErrorKind::Unavailable, operation, text).not_applied()
    }

    /// Counts a lost answer and makes its error.
    pub fn lost(&self, operation: &'static str) -> Error {
        self.own.lost.fetch_add(1, Ordering::Relaxed);
        self.all.lost.fetch_add(1, Ordering::Relaxed);
        let text = format!("the answer was lost by the fault plan of seed {}", self.plan.seed);
        Error::new(ErrorKind::TimedOut, operation, text)
    }

    /// Makes a call by plan: delayed, refused, or without its answer. An error of the engine is always told.
    ///
    /// # Errors
    /// The engine's; [`refused`](Self::refused); [`lost`](Self::lost).
    /// # Cancellation
    /// That of `call`, which is not polled where it is refused.
    pub async fn call<T>(&self, operation: &'static str, call: impl Future<Output = Result<T>>) -> Result<T> {
        let fate = self.draw();
        self.delay().await;
        if fate == Fate::Refuse {
            return Err(self.refused(operation));
        }
        let answer = call.await?;
        if fate == Fate::LoseAnswer { Err(self.lost(operation)) } else { Ok(answer) }
    }

    /// Like [`call`](Self::call), for an answer that must not be lost because it carries something that only it has.
    ///
    /// # Errors
    /// The engine's; [`refused`](Self::refused).
    /// # Cancellation
    /// That of `call`, which is not polled where it is refused.
    pub async fn call_or_refuse<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let fate = self.draw();
        self.delay().await;
        if fate == Fate::Refuse { Err(self.refused(operation)) } else { call.await }
    }

    /// The faults of this sequence alone.
    #[must_use]
    pub fn own_counts(&self) -> FaultCounts {
        self.own.read()
    }

    /// The faults of this sequence and of all that share a root with it.
    #[must_use]
    pub fn counts(&self) -> FaultCounts {
        self.all.read()
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").field("plan", &self.plan).field("counts", &self.own_counts()).finish()
    }
}

/// An engine of the port `P` that misbehaves by plan; it implements `P` where this crate says so.
#[derive(Debug)]
pub struct Faulty<P: ?Sized> {
    pub(crate) inner: Arc<P>,
    pub(crate) faults: Faults,
}

impl<P: ?Sized> Faulty<P> {
    /// Makes `inner` misbehave by `plan`.
    #[must_use]
    pub fn new(inner: Arc<P>, plan: FaultPlan, clock: Arc<dyn Clock>) -> Self {
        Self::with_faults(inner, Faults::new(plan, clock))
    }

    pub(crate) fn with_faults(inner: Arc<P>, faults: Faults) -> Self {
        Self { inner, faults }
    }

    /// The faults of it and of everything that it opened.
    #[must_use]
    pub fn counts(&self) -> FaultCounts {
        self.faults.counts()
    }
}

#[cfg(test)]
mod tests {
    use onex_spi::Effect;

    use super::*;
    use crate::clock::ManualClock;

    fn faults(plan: FaultPlan) -> Faults {
        Faults::new(plan, Arc::new(ManualClock::new()))
    }

    fn fates(plan: FaultPlan) -> Vec<Fate> {
        let faults = faults(plan);
        (0..1000).map(|_| faults.draw()).collect()
    }

    #[test]
    fn one_seed_is_one_sequence_at_the_rates_of_the_plan() {
        let plan = FaultPlan::new(1).with_refuse(0.2).with_lose_answer(0.5);
        let of = |fate| fates(plan).into_iter().filter(|other| *other == fate).count();
        assert_eq!(fates(plan), fates(plan));
        assert_ne!(fates(plan), fates(FaultPlan { seed: 2, ..plan }));
        assert!((150..250).contains(&of(Fate::Refuse)), "{}", of(Fate::Refuse));
        assert!((350..450).contains(&of(Fate::LoseAnswer)), "{}", of(Fate::LoseAnswer));
        assert_eq!(fates(FaultPlan::new(1)), [Fate::Pass; 1000]);
    }

    #[test]
    fn what_is_opened_draws_apart_and_is_counted_together() {
        let root = faults(FaultPlan::new(1).with_refuse(0.5));
        let (one, two) = (root.branch(), root.branch());
        let draw = |faults: &Faults| (0..50).map(|_| faults.draw()).collect::<Vec<_>>();
        assert_ne!(draw(&one), draw(&two));
        one.refused("kafka.commit");
        two.lost("kafka.commit");
        assert_eq!(one.own_counts(), FaultCounts { refused: 1, lost: 0 });
        assert_eq!(root.counts(), FaultCounts { refused: 1, lost: 1 });
    }

    #[tokio::test]
    async fn a_refused_call_is_never_made_and_a_lost_one_is() {
        let made = AtomicU64::new(0);
        let call = || async {
            made.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        let refused = faults(FaultPlan::new(1).with_refuse(1.0)).call("kafka.commit", call()).await;
        let refused = refused.expect_err("the plan refuses everything");
        assert_eq!((refused.kind(), refused.effect()), (ErrorKind::Unavailable, Effect::NotApplied));
        assert_eq!(made.load(Ordering::Relaxed), 0);
        let lost = faults(FaultPlan::new(1).with_lose_answer(1.0)).call("kafka.commit", call()).await;
        let lost = lost.expect_err("the plan loses everything");
        assert_eq!((lost.kind(), lost.effect()), (ErrorKind::TimedOut, Effect::Unknown));
        assert_eq!(made.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_delay_is_a_wait_on_the_clock() {
        let clock = ManualClock::new();
        let plan = FaultPlan::new(1).with_delay(Duration::from_secs(10));
        let faults = Faults::new(plan, Arc::new(clock.clone()));
        let call = tokio::spawn(async move { faults.call("kafka.commit", async { Ok(()) }).await });
        clock.until_waiting(1).await;
        assert!(!call.is_finished());
        clock.advance(Duration::from_secs(10));
        call.await.expect("no panic").expect("no fault");
    }
}
