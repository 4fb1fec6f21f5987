//! Messages that could not go where they should.

use std::fmt;
use std::sync::Arc;

use super::{BridgeMessage, Protocol};
use crate::kafka::Header;
use crate::{Error, ErrorKind};

/// Why a message became a dead letter.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeadReason {
    /// No rule matched, and there is no default route.
    NoRoute,
    /// A rule could not be decided, such as text compared with a number, or a payload that is no object.
    RuleError,
    /// The payload is not what the bridge's format says, such as cut JSON.
    DecodeError,
    /// The payload is above the limit.
    TooLarge,
    /// The target does not know the route.
    MissingTarget,
    /// The target refused the message for good.
    Rejected,
    /// Every attempt failed.
    RetriesExhausted,
    /// The message cannot be said in the target's protocol without loss, such as a null header over HTTP.
    ConversionLoss,
}

impl DeadReason {
    /// Every reason.
    pub const ALL: &'static [Self] = &[
        Self::NoRoute,
        Self::RuleError,
        Self::DecodeError,
        Self::TooLarge,
        Self::MissingTarget,
        Self::Rejected,
        Self::RetriesExhausted,
        Self::ConversionLoss,
    ];

    /// The reason as it is written in dead letters and metrics, such as `no_route`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoRoute => "no_route",
            Self::RuleError => "rule_error",
            Self::DecodeError => "decode_error",
            Self::TooLarge => "too_large",
            Self::MissingTarget => "missing_target",
            Self::Rejected => "rejected",
            Self::RetriesExhausted => "retries_exhausted",
            Self::ConversionLoss => "conversion_loss",
        }
    }
}

impl fmt::Display for DeadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A message and how it came to be a dead letter (B7).
///
/// On the wire it is the message as it came, with headers `onex-dead-*` behind its own: [`into_message`](DeadLetter::into_message)
/// writes them, [`from_message`](DeadLetter::from_message) reads and removes them.
///
/// # Examples
/// ```
/// use onex_spi::bridge::{BridgeMessage, DeadLetter, DeadReason, MessageId, Protocol};
///
/// let message = BridgeMessage::new(MessageId::from_u128(7), "{\"a\":");
/// let dead = DeadLetter::new(message, DeadReason::DecodeError, "orders", Protocol::new("http"), Protocol::new("kafka"));
/// let read = DeadLetter::from_message(dead.clone().into_message())?;
/// assert_eq!(read, dead);
/// # Ok::<(), onex_spi::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// The message as it came.
    pub message: BridgeMessage,
    /// Why.
    pub reason: DeadReason,
    /// The attempts made to deliver it.
    pub attempts: u32,
    /// The kind of the last error, and its words.
    pub last_error: Option<(String, String)>,
    /// The bridge.
    pub bridge: Arc<str>,
    /// The protocol by which the message came.
    pub source: Protocol,
    /// The protocol by which it should have gone.
    pub target: Protocol,
    /// The route that it should have taken, where one was chosen.
    pub route: Option<Arc<str>>,
    /// The rule that chose it or that failed, from 1.
    pub rule: Option<usize>,
}

const REASON: &str = "onex-dead-reason";
const ATTEMPTS: &str = "onex-dead-attempts";
const KIND: &str = "onex-dead-error-kind";
const ERROR: &str = "onex-dead-error";
const BRIDGE: &str = "onex-dead-bridge";
const SOURCE: &str = "onex-dead-source";
const TARGET: &str = "onex-dead-target";
const ROUTE: &str = "onex-dead-route";
const RULE: &str = "onex-dead-rule";

impl DeadLetter {
    /// Makes a dead letter of a message that was never attempted.
    #[must_use]
    pub fn new(
        message: BridgeMessage,
        reason: DeadReason,
        bridge: impl Into<Arc<str>>,
        source: Protocol,
        target: Protocol,
    ) -> Self {
        let bridge = bridge.into();
        Self {
            message,
            reason,
            attempts: 0,
            last_error: None,
            bridge,
            source,
            target,
            route: None,
            rule: None,
        }
    }

    /// Says how delivery failed.
    #[must_use]
    pub fn with_error(mut self, attempts: u32, error: &Error) -> Self {
        self.attempts = attempts;
        self.last_error = Some((format!("{:?}", error.kind()), error.message().to_owned()));
        self
    }

    /// Says which way the message should have taken, and by which rule (from 1).
    #[must_use]
    pub fn with_route(mut self, route: Option<Arc<str>>, rule: Option<usize>) -> Self {
        (self.route, self.rule) = (route, rule);
        self
    }

    /// The message with the headers that say how it came to this.
    #[must_use]
    pub fn into_message(self) -> BridgeMessage {
        let mut message = self.message;
        let headers = &mut message.headers;
        headers.push(Header::new(REASON, self.reason.as_str()));
        headers.push(Header::new(ATTEMPTS, self.attempts.to_string()));
        if let Some((kind, text)) = self.last_error {
            headers.push(Header::new(KIND, kind));
            headers.push(Header::new(ERROR, text));
        }
        headers.push(Header::new(BRIDGE, self.bridge.as_bytes().to_vec()));
        headers.push(Header::new(SOURCE, self.source.as_str().as_bytes().to_vec()));
        headers.push(Header::new(TARGET, self.target.as_str().as_bytes().to_vec()));
        headers.extend(self.route.map(|route| Header::new(ROUTE, route.as_bytes().to_vec())));
        headers.extend(self.rule.map(|rule| Header::new(RULE, rule.to_string())));
        message
    }

    /// Reads a dead letter back: the message as it came, and what is said about it.
    ///
    /// # Errors
    /// `Corrupt` naming the header that is missing or unreadable.
    pub fn from_message(mut message: BridgeMessage) -> Result<Self, Error> {
        // A message that died twice carries two sets of headers: the later one speaks, and is the one removed.
        let mut take = |name: &str| -> Result<Option<String>, Error> {
            let Some(at) = message.headers.iter().rposition(|header| &*header.name == name) else {
                return Ok(None);
            };
            let value = message.headers.remove(at).value.unwrap_or_default();
            String::from_utf8(value.into()).map(Some).map_err(|_| corrupt(name, "is not text"))
        };
        let reason = take(REASON)?.ok_or_else(|| corrupt(REASON, "is missing"))?;
        let reason = DeadReason::ALL.iter().find(|known| known.as_str() == reason);
        let reason = *reason.ok_or_else(|| corrupt(REASON, "is not a known reason"))?;
        let attempts = take(ATTEMPTS)?.and_then(|text| text.parse().ok());
        let attempts = attempts.ok_or_else(|| corrupt(ATTEMPTS, "is no number"))?;
        let last_error = take(KIND)?.zip(take(ERROR)?);
        let bridge = take(BRIDGE)?.ok_or_else(|| corrupt(BRIDGE, "is missing"))?.into();
        let source = Protocol::new(take(SOURCE)?.ok_or_else(|| corrupt(SOURCE, "is missing"))?);
        let target = Protocol::new(take(TARGET)?.ok_or_else(|| corrupt(TARGET, "is missing"))?);
        let route = take(ROUTE)?.map(Arc::from);
        let rule =
            take(RULE)?.map(|text| text.parse().map_err(|_| corrupt(RULE, "is no number"))).transpose()?;
        Ok(Self { message, reason, attempts, last_error, bridge, source, target, route, rule })
    }
}

fn corrupt(header: &str, what: &str) -> Error {
    let message = format!("the header `{header}` {what}; the message is no dead letter of a bridge");
    Error::new(ErrorKind::Corrupt, "bridge.dead_letter", message).not_applied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::MessageId;

    fn dead(message: BridgeMessage, reason: DeadReason) -> DeadLetter {
        DeadLetter::new(message, reason, "orders", Protocol::new("http"), Protocol::new("kafka"))
    }

    #[test]
    fn every_reason_survives_the_wire() {
        let error = Error::new(ErrorKind::Unavailable, "kafka.produce", "broker away");
        for reason in DeadReason::ALL {
            let message = BridgeMessage::new(MessageId::from_u128(7), "x").with_header(Header::null("own"));
            let dead =
                dead(message, *reason).with_error(4, &error).with_route(Some("logins".into()), Some(2));
            assert_eq!(DeadLetter::from_message(dead.clone().into_message()).expect("its own text"), dead);
        }
    }

    #[test]
    fn a_letter_that_died_twice_is_the_first_letter_again() {
        let message = BridgeMessage::new(MessageId::from_u128(7), "x");
        let first = dead(message, DeadReason::NoRoute).into_message();
        let second = dead(first.clone(), DeadReason::Rejected).with_route(Some("a".into()), Some(1));
        let read = DeadLetter::from_message(second.clone().into_message()).expect("its own text");
        assert_eq!(read.message, first);
        assert_eq!(read.reason, DeadReason::Rejected);
    }

    #[test]
    fn what_is_no_dead_letter_is_corrupt() {
        let error = DeadLetter::from_message(BridgeMessage::new(MessageId::from_u128(7), "x"))
            .expect_err("no headers");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.message().contains("onex-dead-reason"), "{error}");
    }
}
