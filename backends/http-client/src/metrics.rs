//! Counters without a lock, and a histogram of latencies.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::{Duration, Instant};

use onex_spi::http::{HttpClientMetrics, HttpResponse, LatencySummary};
use onex_spi::{Clock, ErrorKind, Result};

use crate::origin::{Origin, Origins};

/// The counters of a client.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: AtomicU64,
    successes: AtomicU64,
    failures: AtomicU64,
    timeouts: AtomicU64,
    cancelled: AtomicU64,
    retries: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
    latency: Histogram,
}

impl Metrics {
    /// Counts a call; it counts as cancelled unless it is ended.
    pub(crate) fn begin<'a>(&'a self, origin: &'a Origin, clock: &'a dyn Clock, start: Instant) -> Call<'a> {
        self.requests.fetch_add(1, Relaxed);
        origin.shared.counters.begin();
        Call { metrics: self, origin, clock, start, ended: false }
    }

    pub(crate) fn add_retry(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    pub(crate) fn add_sent(&self, bytes: usize) {
        self.bytes_sent.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn add_received(&self, bytes: usize) {
        self.bytes_received.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn snapshot(&self, origins: &Origins) -> HttpClientMetrics {
        let mut shown = HttpClientMetrics::default();
        // A part is read before its whole and an end before its begin, so that no snapshot shows more of the former.
        shown.timeouts = self.timeouts.load(Acquire);
        shown.successes = self.successes.load(Acquire);
        shown.failures = self.failures.load(Acquire);
        shown.cancelled = self.cancelled.load(Acquire);
        shown.requests = self.requests.load(Relaxed);
        let ended = shown.successes + shown.failures + shown.cancelled;
        shown.in_flight = shown.requests.saturating_sub(ended);
        shown.retries = self.retries.load(Relaxed);
        shown.bytes_sent = self.bytes_sent.load(Relaxed);
        shown.bytes_received = self.bytes_received.load(Relaxed);
        shown.latency = self.latency.summary();
        shown.per_host =
            origins.counters().into_iter().map(|(host, counters)| (host, counters.snapshot())).collect();
        shown
    }
}

/// A call that is counted; dropped before its end, it was cancelled.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    metrics: &'a Metrics,
    origin: &'a Origin,
    clock: &'a dyn Clock,
    start: Instant,
    ended: bool,
}

impl Call<'_> {
    pub(crate) fn end(mut self, result: &Result<HttpResponse>) {
        self.ended = true;
        match result {
            Ok(_) => {
                self.metrics.latency.add(self.clock.now().saturating_duration_since(self.start));
                self.metrics.successes.fetch_add(1, Release);
            }
            Err(error) => {
                self.origin.shared.counters.fail();
                self.metrics.failures.fetch_add(1, Release);
                if error.kind() == ErrorKind::TimedOut {
                    self.metrics.timeouts.fetch_add(1, Release);
                }
            }
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.metrics.cancelled.fetch_add(1, Release);
        }
    }
}

/// Microseconds in buckets that grow with the value: 16 to each power of two, so that a quantile is at most 1/16 too high.
#[derive(Debug)]
struct Histogram(Box<[AtomicU64]>);

const SUB_BITS: u32 = 4;
/// Up to 2^36 microseconds, 19 hours; what took longer stands in the last bucket.
const BUCKETS: usize = ((36 - SUB_BITS as usize) + 1) << SUB_BITS;

impl Default for Histogram {
    fn default() -> Self {
        Self((0..BUCKETS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Histogram {
    fn add(&self, time: Duration) {
        let micros = u64::try_from(time.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX);
        self.0[bucket(micros)].fetch_add(1, Relaxed);
    }

    fn summary(&self) -> LatencySummary {
        let counts: Vec<u64> = self.0.iter().map(|count| count.load(Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        let at = |hundredths: u64| {
            let rank = (total * hundredths).div_ceil(100);
            let mut seen = 0;
            let found = counts.iter().position(|count| {
                seen += count;
                total > 0 && seen >= rank
            })?;
            Some(Duration::from_micros(upper(found)))
        };
        let mut summary = LatencySummary::default();
        summary.p50 = at(50);
        summary.p95 = at(95);
        summary.p99 = at(99);
        summary
    }
}

/// Below 32 each value has its bucket; above, the top five bits choose it.
fn bucket(micros: u64) -> usize {
    let shift = (64 - micros.leading_zeros()).saturating_sub(SUB_BITS + 1);
    let index = ((shift as usize) << SUB_BITS) + usize::try_from(micros >> shift).unwrap_or(usize::MAX);
    index.min(BUCKETS - 1)
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    let shift = (bucket >> SUB_BITS).saturating_sub(1);
    let top = (bucket - (shift << SUB_BITS)) as u64;
    ((top + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_every_value_at_most_a_sixteenth_below_their_edge() {
        for micros in (0..2000).chain((11..36).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 7])) {
            let edge = upper(bucket(micros));
            assert!(edge >= micros && edge - micros <= micros / 16, "{micros} under {edge}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert!((1..BUCKETS).all(|at| upper(at) > upper(at - 1) && bucket(upper(at)) == at));
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_values() {
        // ONEX-HTTP-14: p50, p95, p99
        let histogram = Histogram::default();
        assert_eq!(histogram.summary(), LatencySummary::default(), "nothing was measured, nothing is told");
        (1..=100).for_each(|millis| histogram.add(Duration::from_millis(millis)));
        let summary = histogram.summary();
        for (quantile, millis) in [(summary.p50, 50), (summary.p95, 95), (summary.p99, 99)] {
            let exact = Duration::from_millis(millis);
            let told = quantile.expect("measured");
            assert!(told >= exact && told <= exact + exact / 16, "{told:?} for {exact:?}");
        }
    }
}
