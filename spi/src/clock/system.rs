//! The machine's clock, with one that is cheaper to read beside it.

use std::time::{Duration, Instant, SystemTime};

use super::{Clock, Timer, TokioClock};
use crate::BoxFuture;

/// The machine's clock with tokio's timers, for programs: [`recent`](Clock::recent) takes a fifth of the time of `now`.
///
/// Unlike [`TokioClock`] it does not follow tokio's paused time. Where the machine has no coarse clock, or one that moves in
/// steps of more than 4 ms, `recent` is `now`.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    coarse: Option<Coarse>,
}

impl SystemClock {
    /// Makes the clock.
    #[must_use]
    pub fn new() -> Self {
        Self { coarse: Coarse::of_this_machine() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn recent(&self) -> Instant {
        self.coarse.map_or_else(Instant::now, Coarse::read)
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        TokioClock.sleep_until(deadline)
    }

    fn timer(&self) -> Box<dyn Timer> {
        TokioClock.timer()
    }

    fn grain(&self) -> Duration {
        let coarse = self.coarse.map_or(Duration::ZERO, |coarse| coarse.step);
        TokioClock.grain().max(coarse)
    }
}

/// A clock that the kernel moves on at its ticks, so that reading it asks no hardware.
#[derive(Clone, Copy, Debug)]
struct Coarse {
    /// What the instants are counted from.
    zero: Instant,
    step: Duration,
}

#[cfg(target_os = "linux")]
mod linux {
    use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

    use super::*;

    /// Beyond it a breaker could not keep its grain of 5 ms.
    const MOST: Duration = Duration::from_millis(4);

    impl Coarse {
        pub(super) fn of_this_machine() -> Option<Self> {
            let step = time(clock_getres(ClockId::MonotonicCoarse));
            // Before the other clock: so an instant comes out a few nanoseconds early, and never late.
            let now = Instant::now();
            let zero = now.checked_sub(time(clock_gettime(ClockId::Monotonic)))?;
            (step <= MOST).then_some(Self { zero, step })
        }

        #[inline]
        pub(super) fn read(self) -> Instant {
            self.zero + time(clock_gettime(ClockId::MonotonicCoarse))
        }
    }

    /// Neither part is negative: this clock begins with the machine.
    fn time(since_boot: Timespec) -> Duration {
        Duration::new(since_boot.tv_sec.unsigned_abs(), since_boot.tv_nsec.unsigned_abs() as u32)
    }
}

#[cfg(not(target_os = "linux"))]
impl Coarse {
    fn of_this_machine() -> Option<Self> {
        None
    }

    fn read(self) -> Instant {
        Instant::now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recent_goes_on_and_is_never_ahead() {
        let clock = SystemClock::new();
        assert!(clock.grain() <= Duration::from_millis(4));
        let start = clock.now();
        let mut before = clock.recent();
        while before < start + Duration::from_millis(20) {
            let recent = clock.recent();
            let now = clock.now();
            assert!(recent <= now, "{:?} ahead", recent - now);
            assert!(recent >= before, "went back by {:?}", before - recent);
            before = recent;
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_has_a_coarse_clock() {
        assert!(SystemClock::new().coarse.is_some_and(|coarse| !coarse.step.is_zero()));
    }
}
