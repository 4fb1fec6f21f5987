//! Time as a port: every timer of onex goes through a [`Clock`].

use std::fmt;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use crate::BoxFuture;

/// Tells the time and wakes at times; injected wherever something waits, so that tests own time.
///
/// # For implementers
/// T1 `now` never goes back. T2 a sleep or timer ends at or after its instant, at most [`grain`](Clock::grain)
/// later plus what the scheduler needs. T3 an instant that has passed completes at the next poll. T4 `recent` never goes back
/// and is never after `now`, at most `grain` before it plus what the scheduler needs.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The monotonic time.
    fn now(&self) -> Instant;

    /// The time not long ago, where that is cheaper to read than [`now`](Clock::now); for asking whether something is over that
    /// may end a little late, never for stamps.
    fn recent(&self) -> Instant {
        self.now()
    }

    /// The calendar time; for timestamps and `Retry-After` dates only, never for durations.
    fn wall(&self) -> SystemTime;

    /// Completes at `deadline`.
    ///
    /// # Cancellation
    /// Leaves nothing behind.
    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()>;

    /// Makes one movable timer, for a call that re-arms instead of making a new one each time.
    fn timer(&self) -> Box<dyn Timer>;

    /// How late this clock may be, at its timers and by [`recent`](Clock::recent).
    fn grain(&self) -> Duration;
}

const _: fn(&dyn Clock) = |_| ();

impl dyn Clock {
    /// The instant `within` from now; one that no clock can tell is a century away.
    #[must_use]
    pub fn after(&self, within: Duration) -> Instant {
        const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
        self.now() + within.min(CENTURY)
    }
}

/// One timer that is moved, never re-made.
pub trait Timer: Send {
    /// Completes once the clock has reached `deadline`; a changed `deadline` re-arms the timer.
    fn poll_at(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()>;
}

const _: fn(&dyn Timer) = |_| ();

#[cfg(feature = "tokio")]
mod system;
#[cfg(feature = "tokio")]
mod tokio;

#[cfg(feature = "tokio")]
pub use self::{system::SystemClock, tokio::TokioClock};
