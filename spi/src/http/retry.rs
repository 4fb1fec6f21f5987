//! When to send a request again: pure decisions, no clock, no randomness of their own.

use std::time::{Duration, SystemTime};

use ::http::{HeaderMap, Method, StatusCode, header::RETRY_AFTER};
use serde::{Deserialize, Serialize};

use crate::{Effect, Error, Result};

/// How many retries a host is worth: a bucket of tokens, one per retry.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryBudget {
    /// The most tokens; also those at the start. Default 100.
    pub capacity: u32,
    /// Tokens that come back per second. Default 10.
    pub per_second: f64,
}

impl RetryBudget {
    /// Makes a budget.
    #[must_use]
    pub fn new(capacity: u32, per_second: f64) -> Self {
        Self { capacity, per_second }
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new(100, 10.0)
    }
}

/// When and how often a request is sent again.
///
/// The wait before retry `n` (from 0) is drawn uniformly from zero to `min(max_backoff, initial_backoff * multiplier^n)`;
/// without jitter it is the upper end. `Retry-After` is a floor under it.
///
/// # Examples
/// ```
/// use onex_spi::http::{Attempt, AttemptResult, RetryDecision, RetryPolicy};
/// use http::{Method, StatusCode};
///
/// let policy = RetryPolicy::default();
/// let attempt = Attempt::new(&Method::GET, AttemptResult::Status(StatusCode::SERVICE_UNAVAILABLE));
/// assert!(matches!(policy.decide(&attempt), RetryDecision::Retry { .. }));
/// let post = Attempt::new(&Method::POST, AttemptResult::Status(StatusCode::SERVICE_UNAVAILABLE));
/// assert!(matches!(policy.decide(&post), RetryDecision::Stop(_)), "a POST may have been processed");
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// Attempts beyond the first. Default 3.
    pub max_retries: u32,
    /// The upper end of the first wait. Default 500 ms.
    #[serde(with = "humantime_serde")]
    pub initial_backoff: Duration,
    /// The growth of the upper end. Default 2.
    #[serde(alias = "backoff_factor")]
    pub multiplier: f64,
    /// The longest wait, and the longest `Retry-After` that is obeyed. Default 30 s.
    #[serde(with = "humantime_serde")]
    pub max_backoff: Duration,
    /// Whether the wait is drawn at random. Default true.
    pub jitter: bool,
    /// The statuses that are worth another attempt. Default 408, 429, 500, 502, 503, 504.
    #[serde(alias = "retry_on_status_codes")]
    pub retry_on: Vec<u16>,
    /// Whether methods that are not idempotent (RFC 9110 §9.2.2) are repeated though the server may have acted. Default false.
    pub retry_unsafe_methods: bool,
    /// Whether `Retry-After` is obeyed. Default true.
    pub respect_retry_after: bool,
    /// The retries that a host is worth; `None` = no bound but `max_retries`.
    pub budget: Option<RetryBudget>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_retries: 3,
            initial_backoff: Duration::from_millis(500),
            multiplier: 2.0,
            max_backoff: Duration::from_secs(30),
            jitter: true,
            retry_on: vec![408, 429, 500, 502, 503, 504],
            retry_unsafe_methods: false,
            respect_retry_after: true,
            budget: Some(RetryBudget::default()),
        }
    }
}

/// What an attempt came to.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub enum AttemptResult<'a> {
    /// A response with this status.
    Status(StatusCode),
    /// No response.
    Error(&'a Error),
}

/// An attempt that ended, as [`RetryPolicy::decide`] wants to know it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// What it came to.
    pub result: AttemptResult<'a>,
    /// The retries made before it.
    pub retries: u32,
    /// Whether the body can be sent again.
    pub replayable: bool,
    /// What the server asked for, read by [`retry_after`]; or the wait that an open circuit asks for.
    pub retry_after: Option<Duration>,
    /// The time that the call has left.
    pub remaining: Option<Duration>,
    /// Whether the host's budget has a token.
    pub in_budget: bool,
    /// A number drawn uniformly from all `u64`.
    pub random: u64,
}

impl<'a> Attempt<'a> {
    /// A first attempt with a replayable body, no deadline, a full budget and the largest random number.
    #[must_use]
    pub fn new(method: &'a Method, result: AttemptResult<'a>) -> Self {
        Self {
            method,
            result,
            retries: 0,
            replayable: true,
            retry_after: None,
            remaining: None,
            in_budget: true,
            random: u64::MAX,
        }
    }
}

/// Why no further attempt is made.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The result is final: a success, or a failure that repeats.
    Final,
    /// The server may have acted and the method is not idempotent.
    UnsafeMethod,
    /// The body can be sent only once.
    BodyNotReplayable,
    /// `max_retries` were made.
    Exhausted,
    /// The host's budget is empty.
    OutOfBudget,
    /// `Retry-After` is longer than `max_backoff`.
    RetryAfterTooLong,
    /// The wait would end after the call's deadline.
    Deadline,
}

/// What to do after an attempt.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryDecision {
    /// Send again after a wait.
    Retry {
        /// The wait.
        after: Duration,
    },
    /// Hand out what there is.
    Stop(StopReason),
}

impl RetryPolicy {
    /// A policy that never sends twice.
    #[must_use]
    pub fn never() -> Self {
        Self { max_retries: 0, ..Self::default() }
    }

    /// Sets the attempts beyond the first.
    #[must_use]
    pub fn with_max_retries(mut self, retries: u32) -> Self {
        self.max_retries = retries;
        self
    }

    /// Sets the first and the longest wait.
    #[must_use]
    pub fn with_backoff(mut self, initial: Duration, max: Duration) -> Self {
        self.initial_backoff = initial;
        self.max_backoff = max;
        self
    }

    /// Sets the budget.
    #[must_use]
    pub fn with_budget(mut self, budget: Option<RetryBudget>) -> Self {
        self.budget = budget;
        self
    }

    /// Repeats every method, also those that the server may have acted on.
    #[must_use]
    pub fn with_unsafe_methods(mut self) -> Self {
        self.retry_unsafe_methods = true;
        self
    }

    /// Checks the policy.
    ///
    /// # Errors
    /// `InvalidInput` naming field, value and range.
    pub fn validate(&self) -> Result<()> {
        let bad = |text: String| Err(Error::invalid("http.configure_retry_policy", text));
        if self.max_retries > 100 {
            return bad(format!("max_retries = {} is not in 0..=100", self.max_retries));
        }
        if !(1.0..=100.0).contains(&self.multiplier) {
            return bad(format!("multiplier = {} is not in 1..=100", self.multiplier));
        }
        if self.initial_backoff > self.max_backoff {
            let (initial, max) = (self.initial_backoff, self.max_backoff);
            return bad(format!("initial_backoff = {initial:?} is longer than max_backoff = {max:?}"));
        }
        if let Some(status) = self.retry_on.iter().find(|status| !(400..=599).contains(*status)) {
            return bad(format!("retry_on holds {status}; only 400..=599 can be retried"));
        }
        if let Some(budget) = self.budget.filter(|budget| !(0.0..=1e6).contains(&budget.per_second)) {
            return bad(format!("budget.per_second = {} is not in 0..=1000000", budget.per_second));
        }
        Ok(())
    }

    /// Decides what follows an attempt; the only place where that is decided.
    #[must_use]
    pub fn decide(&self, attempt: &Attempt<'_>) -> RetryDecision {
        use RetryDecision::Stop;
        let idempotent = self.retry_unsafe_methods || attempt.method.is_idempotent();
        match attempt.result {
            AttemptResult::Status(status) if !self.retry_on.contains(&status.as_u16()) => {
                return Stop(StopReason::Final);
            }
            AttemptResult::Status(_) if !idempotent => return Stop(StopReason::UnsafeMethod),
            AttemptResult::Status(_) => {}
            AttemptResult::Error(error) if !error.is_retryable(true) => return Stop(StopReason::Final),
            AttemptResult::Error(error) if !idempotent && error.effect() == Effect::Unknown => {
                return Stop(StopReason::UnsafeMethod);
            }
            AttemptResult::Error(_) => {}
        }
        if attempt.retries >= self.max_retries {
            return Stop(StopReason::Exhausted);
        }
        if !attempt.replayable {
            return Stop(StopReason::BodyNotReplayable);
        }
        let asked = attempt.retry_after.filter(|_| self.respect_retry_after).unwrap_or_default();
        if asked > self.max_backoff {
            return Stop(StopReason::RetryAfterTooLong);
        }
        let after = self.backoff(attempt.retries, attempt.random).max(asked);
        if attempt.remaining.is_some_and(|remaining| after >= remaining) {
            return Stop(StopReason::Deadline);
        }
        if !attempt.in_budget {
            return Stop(StopReason::OutOfBudget);
        }
        RetryDecision::Retry { after }
    }

    /// The wait before retry `retries` (from 0) for a uniform `random`: full jitter, capped after it is drawn.
    fn backoff(&self, retries: u32, random: u64) -> Duration {
        let max = self.max_backoff.as_secs_f64();
        let exponent = i32::try_from(retries).unwrap_or(i32::MAX);
        let upper = (self.initial_backoff.as_secs_f64() * self.multiplier.powi(exponent)).min(max);
        let share = if self.jitter { random as f64 / u64::MAX as f64 } else { 1.0 };
        Duration::try_from_secs_f64(upper * share).unwrap_or(self.max_backoff).min(self.max_backoff)
    }
}

/// Reads `Retry-After`, seconds or an HTTP date (RFC 9110 §10.2.3); a date in the past is zero, nonsense is `None`.
#[must_use]
pub fn retry_after(headers: &HeaderMap, wall: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(wall).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn unavailable() -> AttemptResult<'static> {
        AttemptResult::Status(StatusCode::SERVICE_UNAVAILABLE)
    }

    #[test]
    fn onex_http_21_full_jitter_is_capped_after_it_is_drawn() {
        // ONEX-HTTP-21: delay n = uniform in 0..min(cap, initial * factor^n)
        let policy = RetryPolicy::default();
        for (retries, upper) in [(0, 500), (1, 1000), (2, 2000), (3, 4000), (10, 30_000), (u32::MAX, 30_000)]
        {
            assert_eq!(policy.backoff(retries, u64::MAX), Duration::from_millis(upper));
            assert_eq!(policy.backoff(retries, 0), Duration::ZERO);
            let half = policy.backoff(retries, u64::MAX / 2).as_millis();
            assert!(half.abs_diff(u128::from(upper) / 2) <= 1, "{half}");
        }
    }

    #[test]
    fn only_what_is_safe_to_repeat_is_repeated() {
        let policy = RetryPolicy::default();
        let lost = Error::new(ErrorKind::Unavailable, "t", "lost");
        let never_sent = lost.clone().not_applied();
        let refused = Error::new(ErrorKind::PermissionDenied, "t", "no").not_applied();
        let stop = |method, result| match policy.decide(&Attempt::new(method, result)) {
            RetryDecision::Stop(reason) => Some(reason),
            RetryDecision::Retry { .. } => None,
        };
        assert_eq!(stop(&Method::GET, AttemptResult::Error(&lost)), None);
        assert_eq!(stop(&Method::POST, AttemptResult::Error(&lost)), Some(StopReason::UnsafeMethod));
        assert_eq!(stop(&Method::POST, AttemptResult::Error(&never_sent)), None);
        assert_eq!(stop(&Method::GET, AttemptResult::Error(&refused)), Some(StopReason::Final));
        assert_eq!(stop(&Method::GET, AttemptResult::Status(StatusCode::OK)), Some(StopReason::Final));
        assert_eq!(stop(&Method::PATCH, unavailable()), Some(StopReason::UnsafeMethod));
    }

    #[test]
    fn bounds_end_the_retries_with_their_reason() {
        let policy = RetryPolicy::default();
        let base = Attempt::new(&Method::GET, unavailable());
        let stop = |attempt: Attempt<'_>| policy.decide(&attempt);
        assert_eq!(stop(Attempt { retries: 3, ..base }), RetryDecision::Stop(StopReason::Exhausted));
        assert_eq!(
            stop(Attempt { replayable: false, ..base }),
            RetryDecision::Stop(StopReason::BodyNotReplayable)
        );
        assert_eq!(stop(Attempt { in_budget: false, ..base }), RetryDecision::Stop(StopReason::OutOfBudget));
        let after = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(
            stop(Attempt { retry_after: after(31), ..base }),
            RetryDecision::Stop(StopReason::RetryAfterTooLong)
        );
        assert_eq!(
            stop(Attempt { retry_after: after(7), ..base }),
            RetryDecision::Retry { after: Duration::from_secs(7) }
        );
        let late = Attempt { retry_after: after(7), remaining: after(7), ..base };
        assert_eq!(stop(late), RetryDecision::Stop(StopReason::Deadline));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let wall = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").expect("a date");
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().expect("a value"));
            retry_after(&headers, wall)
        };
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(read("Sun, 06 Nov 1994 08:50:37 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(read("Sun, 06 Nov 1994 08:48:37 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
    }

    #[test]
    fn a_bad_policy_names_field_value_and_range() {
        let error =
            RetryPolicy { multiplier: f64::NAN, ..RetryPolicy::default() }.validate().expect_err("NaN");
        assert!(error.to_string().contains("multiplier = NaN is not in 1..=100"), "{error}");
        let policy: RetryPolicy =
            serde_json::from_str(r#"{"max_retries":1,"backoff_factor":2.0,"initial_backoff":"30ms"}"#)
                .expect("ONEX names are accepted");
        assert_eq!(policy.initial_backoff, Duration::from_millis(30));
    }
}
