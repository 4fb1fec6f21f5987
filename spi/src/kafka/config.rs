//! How producers and consumers are opened.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// When a record counts as stored.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Acks {
    /// All in-sync replicas have it.
    #[default]
    All,
    /// The leader has it.
    Leader,
    /// It was handed to the network; its offset is never told.
    None,
}

/// A producer to open.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProducerConfig {
    /// Empty = the driver's cluster; another cluster than the driver's is `InvalidInput`.
    pub bootstrap_servers: Vec<String>,
    /// When a record counts as stored. Default `all`.
    pub acks: Acks,
    /// Whether a retry can never double a record; needs `acks = all`. Default true.
    pub idempotent: bool,
    /// How long a record may wait for company. Default 0, because batches come as batches.
    #[serde(with = "humantime_serde")]
    pub linger: Duration,
    /// How long a record may take from `produce` to its answer, retries included. Default 30 s.
    #[serde(with = "humantime_serde")]
    pub delivery_timeout: Duration,
    /// The most records that wait inside. Default 100,000.
    pub queue_records: usize,
    /// The most bytes of keys and values that wait inside. Default 64 MiB.
    pub queue_bytes: usize,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            bootstrap_servers: Vec::new(),
            acks: Acks::All,
            idempotent: true,
            linger: Duration::ZERO,
            delivery_timeout: Duration::from_secs(30),
            queue_records: 100_000,
            queue_bytes: 64 << 20,
        }
    }
}

impl ProducerConfig {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `acks`; other than `All` also needs [`idempotent`](Self::with_idempotent) off.
    #[must_use]
    pub fn with_acks(mut self, acks: Acks) -> Self {
        self.acks = acks;
        self
    }

    /// Sets whether retries can never double.
    #[must_use]
    pub fn with_idempotent(mut self, idempotent: bool) -> Self {
        self.idempotent = idempotent;
        self
    }

    /// Sets how long a record may wait for company.
    #[must_use]
    pub fn with_linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// Sets how long a record may take.
    #[must_use]
    pub fn with_delivery_timeout(mut self, timeout: Duration) -> Self {
        self.delivery_timeout = timeout;
        self
    }

    /// Sets the bounds of the queue inside.
    #[must_use]
    pub fn with_queue(mut self, records: usize, bytes: usize) -> Self {
        self.queue_records = records;
        self.queue_bytes = bytes;
        self
    }

    /// Checks what every engine refuses.
    ///
    /// # Errors
    /// `InvalidInput` naming field, value and range.
    pub fn validate(&self) -> Result<()> {
        let bad = |text: String| Err(Error::invalid("kafka.producer", text));
        if self.idempotent && self.acks != Acks::All {
            return bad(format!("idempotent needs acks = all, not {:?}; set idempotent = false", self.acks));
        }
        if self.queue_records == 0 || self.queue_bytes == 0 {
            return bad("queue_records and queue_bytes must be at least 1".into());
        }
        if self.delivery_timeout.is_zero() || self.delivery_timeout < self.linger {
            return bad(format!(
                "delivery_timeout = {:?} must be above zero and linger",
                self.delivery_timeout
            ));
        }
        Ok(())
    }
}

/// Where a consumer starts without a usable committed offset (K10).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OffsetReset {
    /// At the oldest record.
    #[default]
    Earliest,
    /// After the newest record.
    Latest,
    /// Nowhere: `poll` answers `NotFound`.
    Error,
}

/// A consumer to open.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConsumerConfig {
    /// Empty = the driver's cluster; another cluster than the driver's is `InvalidInput`.
    pub bootstrap_servers: Vec<String>,
    /// The group; must not be empty.
    pub group_id: String,
    /// Where to start without a committed offset. Default `earliest`.
    #[serde(alias = "auto_offset_reset")]
    pub offset_reset: OffsetReset,
    /// How long a silent member keeps its partitions. Default 45 s.
    #[serde(with = "humantime_serde")]
    pub session_timeout: Duration,
    /// How long a member may go without polling. Default 5 min.
    #[serde(with = "humantime_serde")]
    pub max_poll_interval: Duration,
    /// The most records fetched ahead. Default 10,000.
    pub prefetch_records: usize,
    /// The most bytes fetched ahead. Default 64 MiB.
    pub prefetch_bytes: usize,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            bootstrap_servers: Vec::new(),
            group_id: String::new(),
            offset_reset: OffsetReset::Earliest,
            session_timeout: Duration::from_secs(45),
            max_poll_interval: Duration::from_secs(300),
            prefetch_records: 10_000,
            prefetch_bytes: 64 << 20,
        }
    }
}

impl ConsumerConfig {
    /// A member of `group_id`.
    #[must_use]
    pub fn new(group_id: impl Into<String>) -> Self {
        Self { group_id: group_id.into(), ..Self::default() }
    }

    /// Sets where to start without a committed offset.
    #[must_use]
    pub fn with_offset_reset(mut self, reset: OffsetReset) -> Self {
        self.offset_reset = reset;
        self
    }

    /// Sets how long a silent member keeps its partitions.
    #[must_use]
    pub fn with_session_timeout(mut self, timeout: Duration) -> Self {
        self.session_timeout = timeout;
        self
    }

    /// Sets how long a member may go without polling.
    #[must_use]
    pub fn with_max_poll_interval(mut self, interval: Duration) -> Self {
        self.max_poll_interval = interval;
        self
    }

    /// Sets the bounds of what is fetched ahead.
    #[must_use]
    pub fn with_prefetch(mut self, records: usize, bytes: usize) -> Self {
        self.prefetch_records = records;
        self.prefetch_bytes = bytes;
        self
    }

    /// Checks what every engine refuses.
    ///
    /// # Errors
    /// `InvalidInput` naming field, value and range.
    pub fn validate(&self) -> Result<()> {
        let bad = |text: &str| Err(Error::invalid("kafka.consumer", text.to_owned()));
        if self.group_id.is_empty() {
            return bad("group_id is empty; a consumer belongs to a named group");
        }
        if self.session_timeout.is_zero() || self.max_poll_interval < self.session_timeout {
            return bad("session_timeout must be above zero and at most max_poll_interval");
        }
        if self.prefetch_records == 0 || self.prefetch_bytes == 0 {
            return bad("prefetch_records and prefetch_bytes must be at least 1");
        }
        Ok(())
    }
}
