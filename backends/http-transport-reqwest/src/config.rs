//! The keys of the section `http` where `engine = "reqwest"`.

use std::time::Duration;

use onex_spi::provider::KeyError;
use serde::Deserialize;

/// How the transport dials and pools.
///
/// # Examples
/// ```
/// use onex_http_transport_reqwest::Config;
///
/// let config = Config::default().with_max_idle_per_origin(4);
/// assert_eq!(config.idle_timeout.as_secs(), 90);
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The most idle connections kept per origin, 0 keeps none. Default 32.
    pub max_idle_per_origin: usize,
    /// How long an idle connection is kept, such as `"90s"`. Default 90 s.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// How long resolving and dialling may take where the request does not say, above zero. Default 10 s.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// The most headers in a response, 1 to 10000. Default 100; another value costs an allocation a response.
    pub max_response_headers: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_idle_per_origin: 32,
            idle_timeout: Duration::from_secs(90),
            connect_timeout: Duration::from_secs(10),
            max_response_headers: Self::HEADERS,
        }
    }
}

impl Config {
    /// The number of headers for which hyper, below reqwest, needs no allocation.
    pub(crate) const HEADERS: usize = 100;

    /// Sets the most idle connections kept per origin.
    #[must_use]
    pub fn with_max_idle_per_origin(mut self, most: usize) -> Self {
        self.max_idle_per_origin = most;
        self
    }

    /// Sets how long an idle connection is kept.
    #[must_use]
    pub fn with_idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Sets how long resolving and dialling may take.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets the most headers in a response.
    #[must_use]
    pub fn with_max_response_headers(mut self, most: usize) -> Self {
        self.max_response_headers = most;
        self
    }

    /// What the types alone do not refuse.
    pub(crate) fn faults(&self) -> Vec<KeyError> {
        let mut faults = Vec::new();
        if self.connect_timeout.is_zero() {
            faults.push(KeyError::new("connect_timeout", "is 0; give a time above zero, such as \"10s\""));
        }
        if !(1..=10_000).contains(&self.max_response_headers) {
            let message = format!("is {}; give 1 to 10000", self.max_response_headers);
            faults.push(KeyError::new("max_response_headers", message));
        }
        faults
    }
}
