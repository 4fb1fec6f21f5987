//! A clock that tests move.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use onex_spi::{BoxFuture, Clock, Timer};

/// A clock that stands still until a test moves it; clones share the time.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use onex_spi::Clock;
/// use onex_testkit::clock::ManualClock;
///
/// let clock = ManualClock::new();
/// let start = clock.now();
/// clock.advance(Duration::from_secs(10));
/// assert_eq!(clock.now() - start, Duration::from_secs(10));
/// ```
#[derive(Clone)]
pub struct ManualClock(Arc<Mutex<State>>);

struct State {
    start: Instant,
    wall: SystemTime,
    passed: Duration,
    next_id: u64,
    waiting: BTreeMap<(Instant, u64), Waker>,
}

impl ManualClock {
    /// Makes a clock at an arbitrary monotonic time and at 2026-01-01 of the calendar.
    #[must_use]
    pub fn new() -> Self {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        let state = State {
            start: Instant::now(),
            wall,
            passed: Duration::ZERO,
            next_id: 0,
            waiting: BTreeMap::new(),
        };
        Self(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the time forward and wakes what was waiting for it, in order.
    pub fn advance(&self, by: Duration) {
        let due = {
            let mut state = self.state();
            state.passed += by;
            let now = state.start + state.passed;
            let later = state.waiting.split_off(&(now, u64::MAX));
            std::mem::replace(&mut state.waiting, later)
        };
        due.into_values().for_each(Waker::wake);
    }

    /// The number of timers and sleeps that wait; lets a test know that the code under test has begun to wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    /// The earliest time that something waits for.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.state().waiting.first_key_value().map(|((deadline, _), _)| *deadline)
    }

    /// Waits until at least `count` timers or sleeps wait on this clock.
    ///
    /// # Cancellation
    /// Leaves nothing behind.
    pub async fn until_waiting(&self, count: usize) {
        while self.waiting() < count {
            tokio::task::yield_now().await;
        }
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("ManualClock")
            .field("passed", &state.passed)
            .field("waiting", &state.waiting.len())
            .finish()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        let state = self.state();
        state.start + state.passed
    }

    fn wall(&self) -> SystemTime {
        let state = self.state();
        state.wall + state.passed
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        let mut timer = ManualTimer { clock: self.clone(), armed: None };
        Box::pin(std::future::poll_fn(move |cx| timer.poll_at(deadline, cx)))
    }

    fn timer(&self) -> Box<dyn Timer> {
        Box::new(ManualTimer { clock: self.clone(), armed: None })
    }

    fn grain(&self) -> Duration {
        Duration::ZERO
    }
}

struct ManualTimer {
    clock: ManualClock,
    armed: Option<(Instant, u64)>,
}

impl Timer for ManualTimer {
    fn poll_at(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.clock.state();
        if let Some(key) = self.armed.take() {
            state.waiting.remove(&key);
        }
        if state.start + state.passed >= deadline {
            return Poll::Ready(());
        }
        state.next_id += 1;
        let key = (deadline, state.next_id);
        state.waiting.insert(key, cx.waker().clone());
        self.armed = Some(key);
        Poll::Pending
    }
}

impl Drop for ManualTimer {
    fn drop(&mut self) {
        if let Some(key) = self.armed.take() {
            self.clock.state().waiting.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn timers_end_at_their_time_move_and_leave_nothing() {
        let clock = ManualClock::new();
        let at = |seconds| clock.now() + Duration::from_secs(seconds);
        let (one, two) = (clock.sleep_until(at(1)), clock.sleep_until(at(2)));
        let order = tokio::spawn(async move {
            one.await;
            two.await;
        });
        clock.until_waiting(1).await;
        clock.advance(Duration::from_secs(1));
        clock.until_waiting(1).await;
        assert!(!order.is_finished());
        clock.advance(Duration::from_secs(1));
        order.await.expect("both ended");
        let mut timer = clock.timer();
        let waker = Waker::noop();
        assert!(timer.poll_at(at(1), &mut Context::from_waker(waker)).is_pending());
        assert!(timer.poll_at(at(5), &mut Context::from_waker(waker)).is_pending());
        assert_eq!((clock.waiting(), clock.next_deadline()), (1, Some(at(5))));
        drop(timer);
        assert_eq!(clock.waiting(), 0);
    }
}
