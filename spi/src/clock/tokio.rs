//! The clock of the tokio runtime.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use ::tokio::time::{Instant as TokioInstant, Sleep, sleep_until};

use super::{Clock, Timer};
use crate::BoxFuture;

/// The clock of the tokio runtime; follows tokio's paused time in tests.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioClock;

impl TokioClock {
    /// Makes the clock.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Instant {
        TokioInstant::now().into_std()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        Box::pin(sleep_until(deadline.into()))
    }

    fn timer(&self) -> Box<dyn Timer> {
        Box::new(TokioTimer(None))
    }

    fn grain(&self) -> Duration {
        Duration::from_millis(1)
    }
}

/// Made at its first poll, because only then is a runtime certain to be there.
struct TokioTimer(Option<Pin<Box<Sleep>>>);

impl Timer for TokioTimer {
    fn poll_at(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = TokioInstant::from_std(deadline);
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[::tokio::test(start_paused = true)]
    async fn a_timer_is_moved_and_follows_paused_time() {
        let clock = TokioClock::new();
        let start = clock.now();
        let mut timer = clock.timer();
        std::future::poll_fn(|cx| timer.poll_at(start + Duration::from_secs(1), cx)).await;
        std::future::poll_fn(|cx| timer.poll_at(start + Duration::from_secs(5), cx)).await;
        assert_eq!(clock.now() - start, Duration::from_secs(5));
    }

    #[::tokio::test(start_paused = true)]
    async fn a_wait_without_end_has_an_instant_too() {
        let clock: &dyn Clock = &TokioClock::new();
        assert_eq!(clock.after(Duration::from_secs(5)), clock.now() + Duration::from_secs(5));
        assert!(clock.after(Duration::MAX) > clock.now() + Duration::from_secs(1 << 30));
    }
}
