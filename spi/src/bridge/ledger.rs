//! The counts that add up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What became of the messages: `received = delivered + dead_lettered + failed + filtered + in_flight` (B1).
///
/// # Examples
/// ```
/// use onex_spi::bridge::Ledger;
///
/// let mut ledger = Ledger::default();
/// (ledger.received, ledger.delivered, ledger.in_flight) = (3, 2, 1);
/// assert!(ledger.balanced());
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Taken from a source or a caller.
    pub received: u64,
    /// Accepted by a target.
    pub delivered: u64,
    /// Accepted by the dead-letter target.
    pub dead_lettered: u64,
    /// Told as failed to whom the message belongs.
    pub failed: u64,
    /// Dropped because the configuration says so.
    pub filtered: u64,
    /// Taken, and not settled yet.
    pub in_flight: u64,
}

impl Ledger {
    /// The messages that are settled.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.delivered + self.dead_lettered + self.failed + self.filtered
    }

    /// Whether the counts add up (B1).
    #[must_use]
    pub fn balanced(&self) -> bool {
        self.received == self.settled() + self.in_flight
    }
}

/// The counters of one bridge, read in one moment; none but `in_flight` ever falls.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BridgeMetrics {
    /// What became of the messages.
    pub ledger: Ledger,
    /// Of those delivered, how many by each route; the sum is `ledger.delivered`.
    pub routes: BTreeMap<Arc<str>, u64>,
    /// Of the dead letters, how many for each reason; the sum is `ledger.dead_lettered`.
    pub dead_reasons: BTreeMap<&'static str, u64>,
    /// Attempts beyond the first.
    pub retries: u64,
    /// Messages for which a rule failed, whatever became of them.
    pub rule_errors: u64,
    /// The bytes of the payloads received.
    pub bytes: u64,
    /// The time from taking to settling, summed over the settled messages.
    pub busy: Duration,
}
