//! What a history is played on: a breaker, or the sequential model.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use onex_spi::breaker::{
    Circuit, CircuitBreaker, CircuitBreakerConfig, CircuitExt, CircuitListener, CircuitMetrics,
    CircuitSnapshot, CircuitState, CircuitStatus, Outcome, Rejection, Ticket, Transition,
};
use onex_spi::{BoxFuture, Clock, ErrorKind, Result, Timer};

use super::sequential::Sequential;
use super::steps::Step;

const NAME: &str = "history";

/// A clock that can go back, which no clock may.
#[derive(Debug)]
pub(super) struct Bent {
    start: Instant,
    passed_ms: AtomicU64,
}

impl Bent {
    pub(super) fn new(start: Instant) -> Arc<Self> {
        Arc::new(Self { start, passed_ms: AtomicU64::new(0) })
    }

    /// Another clock that begins when this one did.
    pub(super) fn again(&self) -> Arc<Self> {
        Self::new(self.start)
    }

    fn pass(&self, time: Duration) {
        self.passed_ms.fetch_add(millis(time), Ordering::Relaxed);
    }

    fn go_back(&self, time: Duration) {
        let passed = self.passed_ms.load(Ordering::Relaxed);
        self.passed_ms.store(passed.saturating_sub(millis(time)), Ordering::Relaxed);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Clock for Bent {
    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.passed_ms.load(Ordering::Relaxed))
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn sleep_until(&self, _deadline: Instant) -> BoxFuture<'static, ()> {
        unreachable!("a breaker waits for nothing")
    }

    fn timer(&self) -> Box<dyn Timer> {
        unreachable!("a breaker waits for nothing")
    }

    fn grain(&self) -> Duration {
        Duration::ZERO
    }
}

/// What a step came to.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    Done,
    Rejected(Rejection),
    Refused(ErrorKind),
    Kept(CircuitSnapshot),
    /// Everything that a listener was told.
    Told(Vec<Transition>),
}

impl From<Result<()>> for Answer {
    fn from(result: Result<()>) -> Self {
        result.map_or_else(|error| Self::Refused(error.kind()), |()| Self::Done)
    }
}

/// What is read after a step.
#[derive(Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) status: CircuitStatus,
    pub(super) metrics: CircuitMetrics,
}

pub(super) trait Subject {
    fn play(&mut self, step: &Step) -> Answer;

    /// Drops every call that is on its way.
    fn end(&mut self) -> Answer;

    fn seen(&self) -> Seen;
}

/// Takes a call out of those on their way, chosen by its place modulo their number.
fn chosen<T>(calls: &mut Vec<T>, place: usize) -> Option<T> {
    place.checked_rem(calls.len()).map(|place| calls.swap_remove(place))
}

/// Keeps what it is told.
#[derive(Default)]
struct Told(Mutex<Vec<Transition>>);

impl CircuitListener for Told {
    fn changed(&self, _circuit: &str, transition: &Transition) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(*transition);
    }
}

/// The admitted calls without an outcome; wraps where there are more outcomes than calls.
pub(super) fn unsettled(metrics: &CircuitMetrics) -> u64 {
    let ended = [
        metrics.success_count,
        metrics.failure_count,
        metrics.timeout_count,
        metrics.ignored_count,
        metrics.cancelled_count,
        metrics.abandoned_count,
    ];
    ended.into_iter().fold(metrics.admitted_count, u64::wrapping_sub)
}

/// A breaker, and what one circuit of it let through.
pub(super) struct Played {
    breaker: Arc<dyn CircuitBreaker>,
    circuit: Arc<dyn Circuit>,
    clock: Arc<Bent>,
    calls: Vec<Ticket>,
    told: Option<Arc<Told>>,
    /// Whether only that is looked at which the sequential model knows.
    plain: bool,
}

impl Played {
    pub(super) fn new(breaker: Arc<dyn CircuitBreaker>, clock: &Arc<Bent>, listens: bool) -> Result<Self> {
        let circuit = breaker.circuit(NAME)?;
        let told = match listens {
            true => {
                let told = Arc::new(Told::default());
                breaker.listen(Arc::clone(&told) as _)?;
                Some(told)
            }
            false => None,
        };
        Ok(Self { breaker, circuit, clock: Arc::clone(clock), calls: Vec::new(), told, plain: false })
    }

    pub(super) fn plain(breaker: Arc<dyn CircuitBreaker>, clock: &Arc<Bent>) -> Result<Self> {
        Ok(Self { plain: true, ..Self::new(breaker, clock, false)? })
    }
}

/// A call whose operation panics.
fn panics(circuit: &dyn Circuit) -> Result<(), Rejection> {
    let call = || {
        let _permit = circuit.try_acquire()?;
        // Without the panic hook, which would write a trace for a panic that is due.
        resume_unwind(Box::new("due"))
    };
    catch_unwind(AssertUnwindSafe(call)).unwrap_or(Ok(()))
}

impl Subject for Played {
    fn play(&mut self, step: &Step) -> Answer {
        let (breaker, circuit) = (&self.breaker, &self.circuit);
        match step {
            Step::Admit { timeout } => match circuit.admit(*timeout) {
                Ok(ticket) => self.calls.push(ticket),
                Err(rejection) => return Answer::Rejected(rejection),
            },
            Step::Settle { call, outcome } => {
                if let Some(ticket) = chosen(&mut self.calls, *call) {
                    circuit.settle(ticket, *outcome);
                }
            }
            Step::Panic => return panics(&**circuit).map_or_else(Answer::Rejected, |()| Answer::Done),
            Step::Pass(time) => self.clock.pass(*time),
            Step::GoBack(time) => self.clock.go_back(*time),
            Step::Reset => return breaker.reset_circuit_breaker(NAME).into(),
            Step::Force(CircuitState::Open) => return breaker.force_circuit_open(NAME).into(),
            Step::Force(_) => return breaker.force_circuit_closed(NAME).into(),
            Step::Restore(snapshot) => return breaker.restore_circuit(NAME, snapshot).into(),
            Step::RestoreOwn => {
                return match breaker.circuit_snapshot(NAME) {
                    Ok(own) => match breaker.restore_circuit(NAME, &own) {
                        Ok(()) => Answer::Kept(own),
                        Err(error) => Answer::Refused(error.kind()),
                    },
                    Err(error) => Answer::Refused(error.kind()),
                };
            }
            Step::Configure(config) => return breaker.configure_circuit_breaker(NAME, *config).into(),
        }
        Answer::Done
    }

    fn end(&mut self) -> Answer {
        let circuit = &self.circuit;
        self.calls.drain(..).for_each(|ticket| circuit.settle(ticket, Outcome::Cancelled));
        match &self.told {
            Some(told) => Answer::Told(told.0.lock().unwrap_or_else(PoisonError::into_inner).clone()),
            None => Answer::Done,
        }
    }

    fn seen(&self) -> Seen {
        let mut metrics = self.circuit.metrics();
        if self.plain {
            metrics.recent_transitions.clear();
            metrics.openings = 0;
        }
        Seen { status: self.circuit.status(), metrics }
    }
}

/// The sequential model, and what it let through and counted.
pub(super) struct Modelled {
    model: Sequential,
    clock: Arc<Bent>,
    calls: Vec<u64>,
    counts: CircuitMetrics,
}

impl Modelled {
    pub(super) fn new(config: CircuitBreakerConfig, clock: Arc<Bent>) -> Self {
        let model = Sequential::new(config, clock.now());
        let counts = CircuitMetrics::new(model.status);
        Self { model, clock, calls: Vec::new(), counts }
    }

    fn admit(&mut self, timeout: Option<Duration>) -> Result<u64, Answer> {
        let (number, now) = (self.counts.admitted_count, self.clock.now());
        // What the call may take: its own limit, else the circuit's.
        let timeout = timeout.or(self.model.config.call_timeout).unwrap_or_default();
        if self.model.admit(number, timeout, now) {
            self.counts.admitted_count += 1;
            return Ok(number);
        }
        self.counts.rejected_count += 1;
        let Seen { metrics: CircuitMetrics { retry_after, .. }, .. } = self.seen();
        let CircuitStatus { state, forced, .. } = self.model.status;
        Err(Answer::Rejected(Rejection::new(state, forced, retry_after)))
    }

    fn settle(&mut self, number: u64, outcome: Outcome) {
        let counts = &mut self.counts;
        let count = match outcome {
            Outcome::Success => &mut counts.success_count,
            Outcome::Failure | Outcome::Trip { .. } => &mut counts.failure_count,
            Outcome::TimedOut => &mut counts.timeout_count,
            Outcome::Ignored => &mut counts.ignored_count,
            Outcome::Cancelled => &mut counts.cancelled_count,
        };
        *count += u64::from(self.model.settle(number, outcome, self.clock.now()));
    }
}

impl Subject for Modelled {
    fn play(&mut self, step: &Step) -> Answer {
        let now = self.clock.now();
        match step {
            Step::Admit { timeout } => match self.admit(*timeout) {
                Ok(number) => self.calls.push(number),
                Err(rejected) => return rejected,
            },
            Step::Settle { call, outcome } => {
                if let Some(number) = chosen(&mut self.calls, *call) {
                    self.settle(number, *outcome);
                }
            }
            Step::Panic => match self.admit(None) {
                Ok(number) => self.settle(number, Outcome::Failure),
                Err(rejected) => return rejected,
            },
            Step::Pass(time) => self.clock.pass(*time),
            Step::GoBack(time) => self.clock.go_back(*time),
            Step::Reset => self.model.go(CircuitStatus::new(CircuitState::Closed), now),
            Step::Force(state) if self.model.status == CircuitStatus::forced(*state) => {}
            Step::Force(state) => self.model.go(CircuitStatus::forced(*state), now),
            Step::Configure(config) => self.model.config = *config,
            Step::Restore(_) | Step::RestoreOwn => unreachable!("only what both know is played"),
        }
        Answer::Done
    }

    fn end(&mut self) -> Answer {
        std::mem::take(&mut self.calls)
            .into_iter()
            .for_each(|number| self.settle(number, Outcome::Cancelled));
        Answer::Done
    }

    fn seen(&self) -> Seen {
        let (model, now) = (&self.model, self.clock.now());
        let mut metrics = self.counts.clone();
        metrics.status = model.read(now);
        metrics.state_transitions = model.changes;
        metrics.abandoned_count = unsettled(&metrics) - model.calls.len() as u64;
        match metrics.status.state {
            _ if metrics.status.forced || model.read(now) != model.status => {}
            CircuitState::Closed => metrics.consecutive_failures = model.run,
            CircuitState::HalfOpen => metrics.probe_successes = model.run,
            CircuitState::Open => metrics.retry_after = Some(model.ends - now),
        }
        Seen { status: metrics.status, metrics }
    }
}
