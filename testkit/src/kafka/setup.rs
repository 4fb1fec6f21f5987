use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use onex_spi::{Clock, TokioClock};

/// The seed of every case, so that a failure repeats.
const SEED: u64 = 0x6f6e_6578;

/// What a factory may use to make an engine for one case.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct KafkaSetup {
    /// The clock for every timer of the engine; real time, because engines on the wire use real time.
    pub clock: Arc<dyn Clock>,
    /// The seed for every random decision of the engine.
    pub seed: u64,
    /// What the names of the case's topics and groups begin with; fresh per case, `[a-z0-9-]`, below 60 letters.
    ///
    /// Engines made with one prefix must see one cluster.
    pub prefix: String,
}

impl KafkaSetup {
    /// Makes a setup with a given prefix; for tests of one's own.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, seed: u64, prefix: impl Into<String>) -> Self {
        Self { clock, seed, prefix: prefix.into() }
    }

    /// Makes the setup of one run of a case, with a prefix that no other run of any process has.
    pub(crate) fn fresh(suite: &str) -> Self {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let started = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis());
        let prefix = format!("{suite}-{}-{started:x}-{run}", std::process::id());
        Self::new(Arc::new(TokioClock::new()), SEED, prefix)
    }
}
