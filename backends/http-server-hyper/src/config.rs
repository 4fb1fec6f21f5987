//! The keys of the section `http_server` where `engine = "hyper"`.

use std::num::NonZeroUsize;
use std::time::Duration;

use onex_spi::provider::KeyError;
use serde::Deserialize;

/// hyper adds the head's time to the clock's unchecked: an endless one would end every connection.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How the server limits its peers.
///
/// # Examples
/// ```
/// use onex_http_server_hyper::Config;
///
/// assert_eq!(Config::default().with_max_headers(50).max_headers, 50);
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The most connections to one listening address; further ones wait in the kernel's backlog. Default 10000.
    pub max_connections: NonZeroUsize,
    /// The most headers in a request, 1 to 10000; more are answered with 431. Default 100; another value
    /// costs an allocation a request.
    pub max_headers: usize,
    /// The most bytes in the head of a request, 1024 to 262144; more are answered with 431. Default 65536.
    pub max_head_bytes: usize,
    /// How long the head of a request may take, such as `"30s"`, above zero and at most 365 days; so also how
    /// long a connection is kept idle. Default 30 s.
    #[serde(with = "humantime_serde")]
    pub head_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: const { NonZeroUsize::new(10_000).unwrap() },
            max_headers: Self::HEADERS,
            max_head_bytes: 64 << 10,
            head_timeout: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// The number of headers for which hyper needs no allocation.
    pub(crate) const HEADERS: usize = 100;

    /// Sets the most connections to one listening address.
    #[must_use]
    pub fn with_max_connections(mut self, most: NonZeroUsize) -> Self {
        self.max_connections = most;
        self
    }

    /// Sets the most headers in a request.
    #[must_use]
    pub fn with_max_headers(mut self, most: usize) -> Self {
        self.max_headers = most;
        self
    }

    /// Sets the most bytes in the head of a request.
    #[must_use]
    pub fn with_max_head_bytes(mut self, most: usize) -> Self {
        self.max_head_bytes = most;
        self
    }

    /// Sets how long the head of a request may take.
    #[must_use]
    pub fn with_head_timeout(mut self, timeout: Duration) -> Self {
        self.head_timeout = timeout;
        self
    }

    /// What the types alone do not refuse.
    pub(crate) fn faults(&self) -> Vec<KeyError> {
        let mut faults = Vec::new();
        if !(1..=10_000).contains(&self.max_headers) {
            faults.push(KeyError::new("max_headers", format!("is {}; give 1 to 10000", self.max_headers)));
        }
        if !(1 << 10..=256 << 10).contains(&self.max_head_bytes) {
            let message = format!("is {}; give 1024 to 262144 bytes", self.max_head_bytes);
            faults.push(KeyError::new("max_head_bytes", message));
        }
        if self.head_timeout.is_zero() || self.head_timeout > YEAR {
            let message = format!("is {:?}; give a time above zero, at most 365 days", self.head_timeout);
            faults.push(KeyError::new("head_timeout", message));
        }
        faults
    }
}
