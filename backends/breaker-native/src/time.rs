//! The breaker's time: nanoseconds of the injected clock since the breaker was made.

use std::sync::Arc;
use std::time::{Duration, Instant};

use onex_spi::Clock;

/// What the rounding of an opening's end adds to the clock's own grain.
const ROUNDING: Duration = Duration::from_millis(1);
const NANOS_A_MILLI: u64 = 1_000_000;
const NANOS_A_SECOND: u64 = 1_000_000_000;

#[derive(Clone, Debug)]
pub(crate) struct Time {
    clock: Arc<dyn Clock>,
    start: Instant,
}

impl Time {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let start = clock.now();
        Self { clock, start }
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(crate) fn grain(&self) -> Duration {
        self.clock.grain() + ROUNDING
    }

    pub(crate) fn now(&self) -> Now {
        self.at(self.clock.now())
    }

    /// A cheaper reading, behind by the clock's grain at most: whatever is over by it is over.
    pub(crate) fn recent(&self) -> Now {
        self.at(self.clock.recent())
    }

    fn at(&self, at: Instant) -> Now {
        Now { at, nanos: nanos(at.saturating_duration_since(self.start)) }
    }
}

/// One reading of the clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) at: Instant,
    nanos: u64,
}

impl Now {
    #[cfg(test)]
    pub(crate) fn at_nanos(nanos: u64) -> Self {
        Self { at: Instant::now(), nanos }
    }

    /// Nanoseconds since the breaker was made.
    pub(crate) fn nanos(self) -> u64 {
        self.nanos
    }

    /// How long ago that nanosecond was.
    pub(crate) fn since(self, nanos: u64) -> Duration {
        Duration::from_nanos(self.nanos.saturating_sub(nanos))
    }

    /// The nanosecond that is `time` from now.
    pub(crate) fn plus(self, time: Duration) -> u64 {
        self.nanos.saturating_add(nanos(time))
    }

    /// The first whole millisecond that is not before `time` from now, so that an opening never ends early.
    pub(crate) fn plus_rounded_up(self, time: Duration) -> u64 {
        self.plus(time).div_ceil(NANOS_A_MILLI)
    }

    pub(crate) fn has_reached(self, nanos: u64) -> bool {
        self.nanos >= nanos
    }

    /// How long until that millisecond; `None` once it is there.
    pub(crate) fn until_milli(self, milli: u64) -> Option<Duration> {
        let left = milli.saturating_mul(NANOS_A_MILLI).saturating_sub(self.nanos);
        (left > 0).then(|| Duration::from_nanos(left))
    }
}

/// Nanoseconds, or the end of time; in 64 bits, because every rejection counts them.
pub(crate) fn nanos(time: Duration) -> u64 {
    time.as_secs().saturating_mul(NANOS_A_SECOND).saturating_add(u64::from(time.subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_rounded_up_and_never_overflows() {
        let now = Now { at: Instant::now(), nanos: 1 };
        let end = now.plus_rounded_up(Duration::from_millis(10));
        assert_eq!(end, 11);
        assert_eq!(now.until_milli(end), Some(Duration::from_nanos(10_999_999)));
        assert_eq!(Now { nanos: 11_000_000, ..now }.until_milli(end), None);
        assert!(!now.has_reached(now.plus(Duration::MAX)));
        assert!(now.until_milli(now.plus_rounded_up(Duration::MAX)).is_some());
    }
}
