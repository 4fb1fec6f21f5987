//! How a bridge is told what to do.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{BridgeFault, BridgeReason, Protocol};
use crate::provider::Table;
use crate::{Error, Result};

/// What the payloads are.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageFormat {
    /// JSON (RFC 8259): anything else is a dead letter with [`DecodeError`](super::DeadReason::DecodeError). The default.
    #[default]
    Json,
    /// Any bytes: rules cannot read the payload.
    Raw,
}

/// What happens to a message that no rule takes.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unmatched {
    /// It takes the default route; without one it is a dead letter, without a dead-letter target a failure. The default.
    #[default]
    DefaultRoute,
    /// It is a dead letter although there is a default route.
    DeadLetter,
    /// It is dropped, and counted as filtered.
    Drop,
}

/// What a caller meets who sends while the bridge is full.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// It waits for room. The default.
    #[default]
    Wait,
    /// `ResourceExhausted`, with no effect.
    Refuse,
}

/// A condition over a message, in CEL: `payload.event == 'user_login'`.
///
/// It may name `payload`, `headers`, `metadata`, `key` and `topic`, and is true or false. A field that is not there makes it not
/// match; any other fault, such as text ordered against a number, is a fault of the rule (B4). Unlike values are unequal, as in CEL.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Condition(String);

impl Condition {
    /// Takes the text of a condition; it is compiled where it is used.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where messages go that meet a condition.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoutingRule {
    /// The condition.
    pub condition: Condition,
    /// The route: a topic, a path, a queue, as the target's protocol understands it.
    #[doc(alias = "target_topic")]
    #[serde(alias = "target_topic")]
    pub to: String,
}

impl RoutingRule {
    /// Makes a rule.
    pub fn new(condition: impl Into<String>, to: impl Into<String>) -> Self {
        Self { condition: Condition::new(condition), to: to.into() }
    }
}

/// When a delivery that failed for now is attempted again: pure decisions, no clock, no randomness of their own.
///
/// The wait before attempt `n + 1` is `min(max_backoff, initial_backoff * multiplier^(n - 1))`, with jitter a uniform share of it.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BridgeRetry {
    /// Attempts in all, at least 1. Default 8.
    pub max_attempts: u32,
    /// The wait before the second attempt. Default 50 ms.
    #[serde(with = "humantime_serde")]
    pub initial_backoff: Duration,
    /// The growth of the wait, at least 1. Default 2.
    pub multiplier: f64,
    /// The longest wait. Default 30 s.
    #[serde(with = "humantime_serde")]
    pub max_backoff: Duration,
    /// Whether the wait is drawn at random, from zero to the whole. Default true.
    pub jitter: bool,
}

impl Default for BridgeRetry {
    fn default() -> Self {
        Self {
            max_attempts: 8,
            initial_backoff: Duration::from_millis(50),
            multiplier: 2.0,
            max_backoff: Duration::from_secs(30),
            jitter: true,
        }
    }
}

impl BridgeRetry {
    /// Sets the attempts.
    #[must_use]
    pub fn with_max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// Sets the first and the longest wait.
    #[must_use]
    pub fn with_backoff(mut self, initial: Duration, max: Duration) -> Self {
        (self.initial_backoff, self.max_backoff) = (initial, max);
        self
    }

    /// Sets whether the wait is drawn at random.
    #[must_use]
    pub fn with_jitter(mut self, jitter: bool) -> Self {
        self.jitter = jitter;
        self
    }

    /// How long to wait after `attempts` (from 1) have failed; `None` = no more. `random` is drawn uniformly from all `u64`.
    #[must_use]
    pub fn wait(&self, attempts: u32, random: u64) -> Option<Duration> {
        if attempts >= self.max_attempts {
            return None;
        }
        let exponent = i32::try_from(attempts.saturating_sub(1)).unwrap_or(i32::MAX);
        let max = self.max_backoff.as_secs_f64();
        let upper = (self.initial_backoff.as_secs_f64() * self.multiplier.powi(exponent)).min(max);
        let share = if self.jitter { random as f64 / u64::MAX as f64 } else { 1.0 };
        Some(Duration::try_from_secs_f64(upper * share).unwrap_or(self.max_backoff).min(self.max_backoff))
    }
}

/// Where dead letters go.
#[non_exhaustive]
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLetterConfig {
    /// The protocol.
    pub protocol: Protocol,
    /// The configuration of the target, in its protocol's words.
    #[serde(default)]
    pub target: Table,
    /// The route.
    pub to: String,
}

impl DeadLetterConfig {
    /// Makes a dead-letter target with an empty configuration.
    pub fn new(protocol: Protocol, to: impl Into<String>) -> Self {
        Self { protocol, target: Table::new(), to: to.into() }
    }

    /// Sets the configuration of the target.
    #[must_use]
    pub fn with_target(mut self, target: Table) -> Self {
        self.target = target;
        self
    }
}

/// What a bridge does.
#[non_exhaustive]
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BridgeConfig {
    /// The configuration of the source, in its protocol's words.
    #[doc(alias = "source_endpoint")]
    pub source: Table,
    /// The configuration of the target, in its protocol's words.
    pub target: Table,
    /// What the payloads are. Default JSON.
    #[doc(alias = "message_format")]
    pub format: MessageFormat,
    /// The rules, in order; the first that matches decides.
    pub rules: Vec<RoutingRule>,
    /// The route of messages that no rule takes.
    #[doc(alias = "target_topic")]
    #[serde(alias = "target_topic")]
    pub default_route: Option<String>,
    /// What happens to messages that no rule takes.
    pub unmatched: Unmatched,
    /// Where dead letters go; `None` = what would be one is a failure.
    pub dead_letter: Option<DeadLetterConfig>,
    /// When deliveries are attempted again.
    pub retry: BridgeRetry,
    /// The most messages taken and not settled, at least 1. Default 256.
    pub in_flight: usize,
    /// What a caller meets who sends while the bridge is full.
    pub overflow: Overflow,
    /// The most bytes of a payload, at least 1. Default 1 MiB.
    pub message_bytes: usize,
    /// Whether conditions may use comprehensions (`all`, `exists`, `map`, `filter`), whose cost has no bound. Default false.
    pub comprehensions: bool,
}

impl Default for BridgeConfig {
    fn default() -> Self {
        Self {
            source: Table::new(),
            target: Table::new(),
            format: MessageFormat::default(),
            rules: Vec::new(),
            default_route: None,
            unmatched: Unmatched::default(),
            dead_letter: None,
            retry: BridgeRetry::default(),
            in_flight: 256,
            overflow: Overflow::default(),
            message_bytes: 1 << 20,
            comprehensions: false,
        }
    }
}

impl BridgeConfig {
    /// Sets the configuration of source and target, in their protocols' words.
    #[must_use]
    pub fn with_ends(mut self, source: Table, target: Table) -> Self {
        (self.source, self.target) = (source, target);
        self
    }

    /// Sets the format.
    #[must_use]
    pub fn with_format(mut self, format: MessageFormat) -> Self {
        self.format = format;
        self
    }

    /// Sets the rules.
    #[must_use]
    pub fn with_rules(mut self, rules: Vec<RoutingRule>) -> Self {
        self.rules = rules;
        self
    }

    /// Sets the route of messages that no rule takes.
    #[must_use]
    pub fn with_default_route(mut self, to: impl Into<String>) -> Self {
        self.default_route = Some(to.into());
        self
    }

    /// Sets what happens to messages that no rule takes.
    #[must_use]
    pub fn with_unmatched(mut self, unmatched: Unmatched) -> Self {
        self.unmatched = unmatched;
        self
    }

    /// Sets where dead letters go.
    #[must_use]
    pub fn with_dead_letter(mut self, dead_letter: DeadLetterConfig) -> Self {
        self.dead_letter = Some(dead_letter);
        self
    }

    /// Sets when deliveries are attempted again.
    #[must_use]
    pub fn with_retry(mut self, retry: BridgeRetry) -> Self {
        self.retry = retry;
        self
    }

    /// Sets the most messages taken and not settled, and what callers meet beyond.
    #[must_use]
    pub fn with_in_flight(mut self, in_flight: usize, overflow: Overflow) -> Self {
        (self.in_flight, self.overflow) = (in_flight, overflow);
        self
    }

    /// Sets the most bytes of a payload.
    #[must_use]
    pub fn with_message_bytes(mut self, bytes: usize) -> Self {
        self.message_bytes = bytes;
        self
    }

    /// Checks what needs nobody else: ranges, and fields that contradict each other. Rules are compiled by the bridge.
    ///
    /// # Errors
    /// `InvalidInput` naming the field, the value and the rule.
    pub fn validate(&self) -> Result<()> {
        let retry = &self.retry;
        let bad = |message: String| {
            Err(Error::invalid("bridge.config", message)
                .with_detail(BridgeFault::new(BridgeReason::InvalidConfig)))
        };
        if self.in_flight == 0 {
            return bad("in_flight = 0 must be at least 1".into());
        }
        if self.message_bytes == 0 {
            return bad("message_bytes = 0 must be at least 1".into());
        }
        if retry.max_attempts == 0 {
            return bad("retry.max_attempts = 0 must be at least 1, the first attempt".into());
        }
        if !(retry.multiplier >= 1.0 && retry.multiplier.is_finite()) {
            return bad(format!("retry.multiplier = {} must be a number from 1 on", retry.multiplier));
        }
        if retry.initial_backoff > retry.max_backoff {
            let (initial, max) = (retry.initial_backoff, retry.max_backoff);
            return bad(format!(
                "retry.initial_backoff = {initial:?} is longer than retry.max_backoff = {max:?}"
            ));
        }
        if self.unmatched == Unmatched::DeadLetter && self.dead_letter.is_none() {
            return bad("unmatched = \"dead_letter\" needs a dead_letter target; name one".into());
        }
        Ok(())
    }
}

/// Shows the keys of a table and no value: any of them may be a secret (B12).
struct Keys<'a>(&'a Table);

impl fmt::Debug for Keys<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl fmt::Debug for DeadLetterConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetterConfig")
            .field("protocol", &self.protocol)
            .field("target", &Keys(&self.target))
            .field("to", &self.to)
            .finish()
    }
}

impl fmt::Debug for BridgeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BridgeConfig")
            .field("source", &Keys(&self.source))
            .field("target", &Keys(&self.target))
            .field("format", &self.format)
            .field("rules", &self.rules)
            .field("default_route", &self.default_route)
            .field("unmatched", &self.unmatched)
            .field("dead_letter", &self.dead_letter)
            .field("retry", &self.retry)
            .field("in_flight", &self.in_flight)
            .field("overflow", &self.overflow)
            .field("message_bytes", &self.message_bytes)
            .field("comprehensions", &self.comprehensions)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_keys_of_the_ends_and_no_value() {
        let table = || Table::from_iter([("password".to_owned(), "hunter2".into())]);
        let dead = DeadLetterConfig::new(Protocol::new("memory"), "dead").with_target(table());
        let config = BridgeConfig::default().with_ends(table(), table()).with_dead_letter(dead);
        let shown = format!("{config:?}");
        assert!(shown.matches("password").count() == 3 && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn the_wait_grows_to_its_cap_and_ends_with_the_attempts() {
        let retry = BridgeRetry::default()
            .with_backoff(Duration::from_millis(50), Duration::from_millis(300))
            .with_jitter(false);
        let waits: Vec<_> =
            (1..=8).map(|attempts| retry.wait(attempts, 0).map(|wait| wait.as_millis())).collect();
        assert_eq!(waits, [Some(50), Some(100), Some(200), Some(300), Some(300), Some(300), Some(300), None]);
        assert_eq!(retry.clone().with_jitter(true).wait(1, 0), Some(Duration::ZERO));
        assert_eq!(retry.with_max_attempts(u32::MAX).wait(u32::MAX - 1, 0), Some(Duration::from_millis(300)));
    }

    #[test]
    fn a_bad_field_is_named() {
        let default = BridgeConfig::default;
        let cases = [
            (default().with_in_flight(0, Overflow::Wait), "in_flight = 0"),
            (default().with_message_bytes(0), "message_bytes = 0"),
            (default().with_retry(BridgeRetry::default().with_max_attempts(0)), "retry.max_attempts = 0"),
            (
                default().with_retry(BridgeRetry { multiplier: f64::NAN, ..BridgeRetry::default() }),
                "retry.multiplier = NaN",
            ),
            (
                default().with_retry(
                    BridgeRetry::default().with_backoff(Duration::from_secs(2), Duration::from_secs(1)),
                ),
                "retry.initial_backoff = 2s",
            ),
            (default().with_unmatched(Unmatched::DeadLetter), "needs a dead_letter target"),
        ];
        for (config, names) in cases {
            let error = config.validate().expect_err(names);
            assert!(error.message().contains(names), "{error}");
        }
        default().validate().expect("the default is good");
    }

    #[test]
    fn a_file_says_it_in_onex_words() {
        let text = "target_topic = 'all'\nrules = [{ condition = \"payload.event == 'user_login'\", target_topic = 'logins' }]";
        let config: BridgeConfig = text.parse::<Table>().expect("a table").try_into().expect("a config");
        let expected = RoutingRule::new("payload.event == 'user_login'", "logins");
        assert_eq!((config.default_route.as_deref(), config.rules), (Some("all"), vec![expected]));
        let unknown = "targett = {}".parse::<Table>().expect("a table").try_into::<BridgeConfig>();
        assert!(unknown.expect_err("an unknown key").to_string().contains("targett"));
    }
}
