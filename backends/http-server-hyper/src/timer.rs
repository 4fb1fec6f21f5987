//! hyper's timers on our clock.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use onex_spi::Clock;

/// Hands our clock to hyper.
#[derive(Clone, Debug)]
pub(crate) struct ClockTimer(pub(crate) Arc<dyn Clock>);

impl Timer for ClockTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(ClockSleep { timer: Mutex::new(self.0.timer()), deadline })
    }

    fn now(&self) -> Instant {
        self.0.now()
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<ClockSleep>() {
            Some(mut ours) => ours.deadline = deadline,
            None => *sleep = self.sleep_until(deadline),
        }
    }
}

struct ClockSleep {
    /// The mutex makes the sleep `Sync`, as hyper wants it; it is only ever opened with `get_mut`.
    timer: Mutex<Box<dyn onex_spi::Timer>>,
    deadline: Instant,
}

impl Sleep for ClockSleep {}

impl Future for ClockSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.timer.get_mut().unwrap_or_else(PoisonError::into_inner).poll_at(this.deadline, cx)
    }
}

impl fmt::Debug for ClockSleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClockSleep").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use onex_testkit::clock::ManualClock;

    use super::*;

    #[tokio::test]
    async fn a_sleep_is_moved_and_not_made_anew() {
        let clock = ManualClock::new();
        let timer = ClockTimer(Arc::new(clock.clone()));
        let begin = timer.now();
        let mut sleep = timer.sleep(Duration::from_secs(1));
        timer.reset(&mut sleep, begin + Duration::from_secs(5));
        let ended = tokio::spawn(sleep);
        clock.until_waiting(1).await;
        assert_eq!(clock.next_deadline(), Some(begin + Duration::from_secs(5)));
        clock.advance(Duration::from_secs(5));
        ended.await.expect("no panic");
    }
}
