//! What is kept by `host:port`: counters, retry budget, circuit.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use onex_spi::Result;
use onex_spi::breaker::Circuit;
use onex_spi::http::{HostMetrics, HttpUrl, RetryBudget};

use crate::circuit::Bound;

/// The origins that are kept apart; later ones share their counters and their retry budget under `other`.
pub(crate) const MOST: usize = 256;

/// The known origins, sorted by hash: read without a lock, copied to add one, at most [`MOST`] times.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    known: ArcSwap<Vec<Arc<Origin>>>,
    adding: Mutex<()>,
    other: Shared,
}

/// One `host:port`.
#[derive(Debug)]
pub(crate) struct Origin {
    hash: u64,
    key: Arc<str>,
    host_len: usize,
    port: u16,
    pub(crate) shared: Shared,
    circuit: ArcSwapOption<(Bound, Arc<dyn Circuit>)>,
}

/// The counters of one host.
#[derive(Debug, Default)]
pub(crate) struct HostCounters {
    requests: AtomicU64,
    failures: AtomicU64,
}

/// What origins beyond the bound share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared {
    pub(crate) counters: Arc<HostCounters>,
    budget: Arc<Mutex<Bucket>>,
}

impl HostCounters {
    pub(crate) fn begin(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    pub(crate) fn fail(&self) {
        self.failures.fetch_add(1, Release);
    }

    fn is_used(&self) -> bool {
        self.requests.load(Relaxed) > 0
    }

    /// The part is read before its whole, so that no snapshot shows more failures than requests.
    pub(crate) fn snapshot(&self) -> HostMetrics {
        let mut shown = HostMetrics::default();
        shown.failures = self.failures.load(Acquire);
        shown.requests = self.requests.load(Relaxed);
        shown
    }
}

#[derive(Debug, Default)]
struct Bucket {
    /// `None` until the first retry: a bucket begins full, whatever the policy is then.
    filled: Option<(f64, Instant)>,
}

impl Origins {
    /// The origin of `url`, made where it is new.
    pub(crate) fn of(&self, url: &HttpUrl) -> Arc<Origin> {
        let (host, port) = (url.host(), url.port());
        let hash = hash(host, port);
        if let Some(known) = find(&self.known.load(), hash, host, port) {
            return known;
        }
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known.load_full();
        if let Some(known) = find(&known, hash, host, port) {
            return known;
        }
        if known.len() >= MOST {
            return Arc::new(Origin::new(hash, host, port, self.other.clone()));
        }
        let origin = Arc::new(Origin::new(hash, host, port, Shared::default()));
        let mut more = Vec::with_capacity(known.len() + 1);
        more.extend(known.iter().cloned());
        more.insert(more.partition_point(|other| other.hash < hash), origin.clone());
        self.known.store(Arc::new(more));
        origin
    }

    /// The counters by name; `other` only where something was counted under it.
    pub(crate) fn counters(&self) -> Vec<(String, Arc<HostCounters>)> {
        let known = self.known.load_full();
        let own = known.iter().map(|origin| (origin.key.to_string(), origin.shared.counters.clone()));
        let other = self.other.counters.is_used().then(|| ("other".to_owned(), self.other.counters.clone()));
        own.chain(other).collect()
    }
}

impl Origin {
    fn new(hash: u64, host: &str, port: u16, shared: Shared) -> Self {
        let key = format!("{}:{port}", host.to_ascii_lowercase()).into();
        Self { hash, key, host_len: host.len(), port, shared, circuit: ArcSwapOption::empty() }
    }

    /// `host:port` in lower case.
    pub(crate) fn key(&self) -> &Arc<str> {
        &self.key
    }

    fn is(&self, host: &str, port: u16) -> bool {
        self.port == port && self.key[..self.host_len].eq_ignore_ascii_case(host)
    }

    /// The circuit that `bound` has for this origin: asked of the breaker once, then kept here.
    pub(crate) fn circuit(&self, bound: &Bound) -> Result<Arc<dyn Circuit>> {
        if let Some(circuit) = bound.named() {
            return Ok(circuit.clone());
        }
        if let Some(kept) = self.circuit.load().as_ref().filter(|kept| kept.0.is(bound)) {
            return Ok(kept.1.clone());
        }
        let circuit = bound.make(&self.key)?;
        self.circuit.store(Some(Arc::new((bound.clone(), circuit.clone()))));
        Ok(circuit)
    }

    /// Takes a token for one retry, if the budget has one; no budget always has.
    pub(crate) fn take_retry(&self, budget: Option<RetryBudget>, now: Instant) -> bool {
        let Some(budget) = budget else { return true };
        let capacity = f64::from(budget.capacity);
        let mut bucket = self.shared.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let (tokens, since) = bucket.filled.unwrap_or((capacity, now));
        let back = now.saturating_duration_since(since).as_secs_f64() * budget.per_second;
        let tokens = (tokens + back).min(capacity);
        let has = tokens >= 1.0;
        bucket.filled = Some((if has { tokens - 1.0 } else { tokens }, now.max(since)));
        has
    }
}

fn find(known: &[Arc<Origin>], hash: u64, host: &str, port: u16) -> Option<Arc<Origin>> {
    let from = known.partition_point(|origin| origin.hash < hash);
    known[from..]
        .iter()
        .take_while(|origin| origin.hash == hash)
        .find(|origin| origin.is(host, port))
        .cloned()
}

/// FNV-1a over the lower-case host and the port: a host is short, and the table is bounded, so that a flood of
/// colliding names costs at most [`MOST`] comparisons.
fn hash(host: &str, port: u16) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let host = host.bytes().map(|byte| byte.to_ascii_lowercase());
    host.chain(port.to_be_bytes()).fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn url(text: &str) -> HttpUrl {
        HttpUrl::try_from(text).expect("a URL")
    }

    #[test]
    fn an_origin_is_one_whatever_its_spelling() {
        let origins = Origins::default();
        let one = origins.of(&url("http://Example.com/a"));
        assert!(Arc::ptr_eq(&one, &origins.of(&url("http://example.COM:80/b"))));
        assert!(!Arc::ptr_eq(&one, &origins.of(&url("http://example.com:81/"))));
        assert_eq!(&**one.key(), "example.com:80");
    }

    #[test]
    fn origins_are_bounded_and_later_ones_share() {
        // ONEX-HTTP-14
        let origins = Origins::default();
        let of = |n: usize| origins.of(&url(&format!("http://h{n}/")));
        let first: Vec<_> = (0..MOST).map(of).collect();
        assert_eq!(origins.counters().len(), MOST, "nothing was counted under `other`");
        let (late, later) = (of(MOST), of(MOST + 1));
        assert!(Arc::ptr_eq(&late.shared.counters, &later.shared.counters));
        assert_ne!(late.key(), later.key(), "a circuit is never shared");
        assert!(first.iter().enumerate().all(|(n, origin)| Arc::ptr_eq(origin, &of(n))));
    }

    #[test]
    fn a_budget_begins_full_and_fills_with_time() {
        let origin = Origins::default().of(&url("http://h/"));
        let (budget, start) = (Some(RetryBudget::new(2, 0.5)), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(origin.take_retry(budget, at(0)) && origin.take_retry(budget, at(0)));
        assert!(!origin.take_retry(budget, at(1)), "half a token is none");
        assert!(origin.take_retry(budget, at(2)));
        assert!(!origin.take_retry(budget, at(2)));
        assert!(origin.take_retry(budget, at(600)) && origin.take_retry(budget, at(600)));
        assert!(!origin.take_retry(budget, at(600)), "never more than the capacity");
        assert!(origin.take_retry(None, at(600)));
    }
}
