//! One circuit by the laws R0 to R9, R11 and R12, for failures in a row: sixty lines, to be checked by eye.
//!
//! The reference breaker knows every law and is longer for it; this says what a circuit is.

use std::time::{Duration, Instant};

use onex_spi::breaker::CircuitState::{Closed, HalfOpen, Open};
use onex_spi::breaker::{CircuitBreakerConfig, CircuitStatus, Outcome};

pub(super) struct Sequential {
    pub(super) config: CircuitBreakerConfig,
    pub(super) status: CircuitStatus,
    /// Failures in a row while closed, successful probes while half-open.
    pub(super) run: u32,
    /// The end of an opening.
    pub(super) ends: Instant,
    pub(super) changes: u64,
    era: u64,
    /// The calls on their way by number: the era of each and, of a probe, the end of its lease.
    pub(super) calls: std::collections::BTreeMap<u64, (u64, Option<Instant>)>,
}

impl Sequential {
    pub(super) fn new(config: CircuitBreakerConfig, now: Instant) -> Self {
        let status = CircuitStatus::new(Closed);
        Self { config, status, run: 0, ends: now, changes: 0, era: 0, calls: Default::default() }
    }

    /// Begins an era; a reset is nothing else.
    pub(super) fn go(&mut self, status: CircuitStatus, now: Instant) {
        self.changes += u64::from(status != self.status);
        (self.status, self.era, self.run, self.ends) = (status, self.era + 1, 0, now + self.config.open_time);
    }

    /// The state as it is read: an opening that is over is half-open, though nobody probes yet.
    pub(super) fn read(&self, now: Instant) -> CircuitStatus {
        let over = self.status == CircuitStatus::new(Open) && now >= self.ends;
        if over { CircuitStatus::new(HalfOpen) } else { self.status }
    }

    /// Whether the call may run.
    pub(super) fn admit(&mut self, number: u64, timeout: Duration, now: Instant) -> bool {
        if self.read(now) != self.status {
            self.go(CircuitStatus::new(HalfOpen), now);
        }
        let lease = match self.status.state {
            Closed => None,
            Open => return false,
            HalfOpen => {
                self.calls.retain(|_, (_, lease)| lease.is_none_or(|end| now < end));
                let running = self.calls.values().filter(|(era, _)| *era == self.era).count();
                let needed = self.config.success_threshold.saturating_sub(self.run).max(1);
                if running >= self.config.half_open_max_calls.min(needed) as usize {
                    return false;
                }
                Some(now + timeout.max(self.config.open_time))
            }
        };
        self.calls.insert(number, (self.era, lease));
        true
    }

    /// Whether the outcome is counted: not where the call's slot was taken back.
    pub(super) fn settle(&mut self, number: u64, outcome: Outcome, now: Instant) -> bool {
        let Some((era, _)) = self.calls.remove(&number) else { return false };
        let CircuitBreakerConfig { failure_threshold, success_threshold, .. } = self.config;
        match (self.status.state, outcome) {
            _ if era != self.era || self.status.forced => {}
            (_, Outcome::Ignored | Outcome::Cancelled) => {}
            (Closed, Outcome::Success) => self.run = 0,
            (Closed, _) if self.run + 1 < failure_threshold => self.run += 1,
            (HalfOpen, Outcome::Success) if self.run + 1 < success_threshold => self.run += 1,
            (HalfOpen, Outcome::Success) => self.go(CircuitStatus::new(Closed), now),
            _ => self.go(CircuitStatus::new(Open), now),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_model_has_sixty_lines_of_code() {
        let code = include_str!("sequential.rs").split("#[cfg(test)]").next().unwrap_or_default();
        let lines = code.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
        assert!(lines.clone().count() <= 60, "{}", lines.count());
    }
}
