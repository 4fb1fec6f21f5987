//! The policy's configuration, table `[http.client]` of a file.

use std::time::Duration;

use http::{HeaderValue, StatusCode};
use onex_spi::http::{HttpTimeouts, RetryPolicy};
use onex_spi::{Error, Result};
use serde::{Deserialize, Serialize};

/// What a client does to every request that does not say otherwise.
///
/// # Examples
/// ```
/// use onex_http_client::Config;
///
/// let config: Config = serde_json::from_str(
///     r#"{ "timeouts": { "total": "2s", "idle_read": "off" }, "retry": { "max_retries": 1 } }"#,
/// )?;
/// assert_eq!(config.timeouts.total, Some(std::time::Duration::from_secs(2)));
/// assert_eq!(config.timeouts.idle_read, None);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The time limits of calls that bring none of their own.
    pub timeouts: TimeoutConfig,
    /// When a request is sent again.
    pub retry: RetryPolicy,
    /// What answers say to the circuit that is bound, if one is.
    pub circuit: CircuitConfig,
    /// `User-Agent` of requests that bring none; empty = not sent. Default `onex/VERSION`.
    pub user_agent: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timeouts: TimeoutConfig::default(),
            retry: RetryPolicy::default(),
            circuit: CircuitConfig::default(),
            user_agent: concat!("onex/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

impl Config {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the time limits.
    #[must_use]
    pub fn with_timeouts(mut self, timeouts: TimeoutConfig) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Sets the retry policy.
    #[must_use]
    pub fn with_retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// Sets what answers say to a circuit.
    #[must_use]
    pub fn with_circuit(mut self, circuit: CircuitConfig) -> Self {
        self.circuit = circuit;
        self
    }

    /// Sets `User-Agent`; empty = not sent.
    #[must_use]
    pub fn with_user_agent(mut self, name: impl Into<String>) -> Self {
        self.user_agent = name.into();
        self
    }

    /// Checks what the types cannot, so that a file is refused before anything is opened.
    ///
    /// # Errors
    /// `InvalidInput`; the message begins with the key.
    pub fn validate(&self) -> Result<()> {
        self.timeouts.validate()?;
        self.retry.validate()?;
        self.circuit.validate()?;
        self.user_agent_value().map(drop)
    }

    /// `User-Agent` as a header.
    pub(crate) fn user_agent_value(&self) -> Result<HeaderValue> {
        HeaderValue::from_str(&self.user_agent).map_err(|error| {
            let message =
                format!("user_agent = {:?} holds characters that no header may hold", self.user_agent);
            Error::invalid("http.open", message).with_source(error)
        })
    }
}

/// What answers say to a circuit.
///
/// # Examples
/// ```
/// use onex_http_client::{CircuitConfig, StatusClass, StatusMatch};
///
/// let config: CircuitConfig = serde_json::from_str(r#"{ "failures": [404, "5xx"] }"#)?;
/// assert_eq!(config.failures, [StatusMatch::Code(404), StatusMatch::Class(StatusClass::Server)]);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CircuitConfig {
    /// The statuses that are failures: numbers from 400 to 599, `"4xx"`, `"5xx"`. Default 429 and `"5xx"`.
    pub failures: Vec<StatusMatch>,
    /// Whether a 429 or 503 that is a failure and brings `Retry-After` opens the circuit at once, for that time. Default true.
    pub trip_on_retry_after: bool,
}

/// Statuses that are failures.
#[allow(clippy::exhaustive_enums, reason = "one status, or all of a class")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a status such as 429, or \"4xx\" or \"5xx\"")]
pub enum StatusMatch {
    /// One.
    Code(u16),
    /// A hundred.
    Class(StatusClass),
}

/// A class of statuses (RFC 9110 §15).
#[allow(clippy::exhaustive_enums, reason = "the two classes of errors")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StatusClass {
    /// 400 to 499.
    #[serde(rename = "4xx")]
    Client,
    /// 500 to 599.
    #[serde(rename = "5xx")]
    Server,
}

impl Default for CircuitConfig {
    fn default() -> Self {
        let failures = vec![StatusMatch::Code(429), StatusMatch::Class(StatusClass::Server)];
        Self { failures, trip_on_retry_after: true }
    }
}

impl CircuitConfig {
    /// Sets the statuses that are failures.
    #[must_use]
    pub fn with_failures(mut self, failures: Vec<StatusMatch>) -> Self {
        self.failures = failures;
        self
    }

    /// Sets whether a 429 or 503 with `Retry-After` opens at once.
    #[must_use]
    pub fn with_trip_on_retry_after(mut self, trip: bool) -> Self {
        self.trip_on_retry_after = trip;
        self
    }

    /// Whether a status is a failure.
    #[must_use]
    pub fn is_failure(&self, status: StatusCode) -> bool {
        self.failures.iter().any(|failure| match failure {
            StatusMatch::Code(code) => *code == status.as_u16(),
            StatusMatch::Class(StatusClass::Client) => status.is_client_error(),
            StatusMatch::Class(StatusClass::Server) => status.is_server_error(),
        })
    }

    fn validate(&self) -> Result<()> {
        let wrong = self.failures.iter().find_map(|failure| match failure {
            StatusMatch::Code(code) if !(400..=599).contains(code) => Some(code),
            _ => None,
        });
        match wrong {
            Some(code) => Err(Error::invalid(
                "http.open",
                format!("circuit.failures holds {code}; only 400..=599 can be failures"),
            )),
            None => Ok(()),
        }
    }
}

/// Time limits in a file: `"30s"`, or `"off"` for none.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimeoutConfig {
    /// One attempt, from its start to the head of its response. Default off.
    #[serde(with = "limit")]
    pub attempt: Option<Duration>,
    /// Making a connection. Default 10 s.
    #[serde(with = "limit")]
    pub connect: Option<Duration>,
    /// From the end of the request body to the head of the response. Default off.
    #[serde(with = "limit")]
    pub head: Option<Duration>,
    /// Between two frames of the response body. Default 30 s.
    #[serde(with = "limit")]
    pub idle_read: Option<Duration>,
    /// The whole call: attempts, waits and the response body. Default 30 s.
    #[serde(with = "limit")]
    pub total: Option<Duration>,
}

impl Default for TimeoutConfig {
    fn default() -> Self {
        Self {
            attempt: None,
            connect: Some(Duration::from_secs(10)),
            head: None,
            idle_read: Some(Duration::from_secs(30)),
            total: Some(Duration::from_secs(30)),
        }
    }
}

impl From<HttpTimeouts> for TimeoutConfig {
    /// The same limits; `None` = no limit.
    fn from(limits: HttpTimeouts) -> Self {
        let HttpTimeouts { attempt, connect, head, idle_read, total, .. } = limits;
        Self { attempt, connect, head, idle_read, total }
    }
}

impl TimeoutConfig {
    /// No limit at all.
    #[must_use]
    pub fn off() -> Self {
        Self { attempt: None, connect: None, head: None, idle_read: None, total: None }
    }

    /// Sets the limit of one attempt.
    #[must_use]
    pub fn with_attempt(mut self, limit: Option<Duration>) -> Self {
        self.attempt = limit;
        self
    }

    /// Sets the limit for making a connection.
    #[must_use]
    pub fn with_connect(mut self, limit: Option<Duration>) -> Self {
        self.connect = limit;
        self
    }

    /// Sets the limit for the head.
    #[must_use]
    pub fn with_head(mut self, limit: Option<Duration>) -> Self {
        self.head = limit;
        self
    }

    /// Sets the limit between two frames.
    #[must_use]
    pub fn with_idle_read(mut self, limit: Option<Duration>) -> Self {
        self.idle_read = limit;
        self
    }

    /// Sets the limit of the whole call.
    #[must_use]
    pub fn with_total(mut self, limit: Option<Duration>) -> Self {
        self.total = limit;
        self
    }

    /// Checks that no limit is zero.
    pub(crate) fn validate(&self) -> Result<()> {
        let limits = [
            ("attempt", self.attempt),
            ("connect", self.connect),
            ("head", self.head),
            ("idle_read", self.idle_read),
            ("total", self.total),
        ];
        match limits.iter().find(|(_, limit)| *limit == Some(Duration::ZERO)) {
            Some((name, _)) => Err(Error::invalid(
                "http.open",
                format!("timeouts.{name} = 0s ends every call; write \"off\" for none"),
            )),
            None => Ok(()),
        }
    }

    /// The limits of a call: its own where it brings one.
    pub(crate) fn under(&self, own: &HttpTimeouts) -> HttpTimeouts {
        let mut all = *own;
        all.attempt = own.attempt.or(self.attempt);
        all.connect = own.connect.or(self.connect);
        all.head = own.head.or(self.head);
        all.idle_read = own.idle_read.or(self.idle_read);
        all.total = own.total.or(self.total);
        all
    }
}

/// `"off"` beside humantime, because TOML has no null and a missing key is the default.
mod limit {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Text {
        Off(Off),
        Time(#[serde(with = "humantime_serde")] Duration),
    }

    #[derive(Deserialize)]
    enum Off {
        #[serde(rename = "off")]
        Off,
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        match Text::deserialize(from) {
            Ok(Text::Off(Off::Off)) => Ok(None),
            Ok(Text::Time(limit)) => Ok(Some(limit)),
            Err(_) => {
                Err(serde::de::Error::custom("a time limit is written as \"30s\", \"500ms\" or \"off\""))
            }
        }
    }

    pub(super) fn serialize<S: Serializer>(limit: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match limit {
            Some(limit) => humantime_serde::serialize(limit, to),
            None => to.serialize_str("off"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_times_or_off_and_nothing_else() {
        // ONEX-GEN-09.
        let read = |text: &str| serde_json::from_str::<TimeoutConfig>(text);
        let config = read(r#"{"total":"1m","connect":"off","head":"250ms"}"#).expect("limits");
        assert_eq!((config.total, config.connect), (Some(Duration::from_secs(60)), None));
        assert_eq!(config.head, Some(Duration::from_millis(250)));
        assert_eq!(config.idle_read, TimeoutConfig::default().idle_read, "a missing key is the default");
        for bad in [r#"{"total":7}"#, r#"{"total":"soon"}"#] {
            assert!(read(bad).expect_err(bad).to_string().contains("\"30s\""), "{bad}");
        }
        assert!(read(r#"{"totl":"1s"}"#).is_err());
        let again = serde_json::to_string(&config).expect("written");
        assert_eq!(read(&again).expect("read again"), config);
        let zero = config.with_attempt(Some(Duration::ZERO)).validate().expect_err("zero");
        assert!(zero.to_string().contains("timeouts.attempt"), "{zero}");
    }

    #[test]
    fn failures_are_statuses_or_classes_and_nothing_else() {
        let read = |text: &str| serde_json::from_str::<Config>(text);
        let default = CircuitConfig::default();
        let failures: Vec<_> = (100..1000)
            .filter(|code| default.is_failure(StatusCode::from_u16(*code).expect("a status")))
            .collect();
        assert_eq!(failures, [429].into_iter().chain(500..600).collect::<Vec<_>>());
        let config =
            read(r#"{"circuit":{"failures":["4xx",503],"trip_on_retry_after":false}}"#).expect("a config");
        config.validate().expect("in range");
        let again = serde_json::to_string(&config).expect("written");
        assert_eq!(read(&again).expect("read again"), config);
        for bad in [r#"{"circuit":{"failures":["3xx"]}}"#, r#"{"circuit":{"failures":[-1]}}"#] {
            assert!(read(bad).expect_err(bad).to_string().contains("\"5xx\""), "{bad}");
        }
        let redirect =
            read(r#"{"circuit":{"failures":[302]}}"#).expect("reads").validate().expect_err("no failure");
        assert!(redirect.to_string().contains("circuit.failures holds 302"), "{redirect}");
    }
}
