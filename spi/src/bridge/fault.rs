//! The bridge's part of an error.

use crate::Detail;

/// Why a call on a bridge was refused.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BridgeReason {
    /// No protocol of that name is registered.
    UnknownProtocol,
    /// A protocol refuses the configuration of one of the ends.
    InvalidEndpoint,
    /// A rule does not compile, or is not allowed.
    InvalidRule,
    /// A field of the configuration is out of range, or the fields contradict each other.
    InvalidConfig,
    /// A target or the dead-letter target is the bridge's own source.
    Loop,
    /// The message is no message: a bad id, a payload above the limit.
    InvalidMessage,
    /// The target does not know the route.
    MissingTarget,
    /// The bridge ended while the message was in flight.
    Drained,
}

/// The bridge's part of an [`Error`](crate::Error).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BridgeFault {
    /// Why.
    pub reason: BridgeReason,
    /// The rule concerned, from 1.
    pub rule: Option<usize>,
    /// The place in the rule's condition, in characters from 1.
    pub column: Option<usize>,
}

impl BridgeFault {
    /// Makes a fault.
    #[must_use]
    pub fn new(reason: BridgeReason) -> Self {
        Self { reason, rule: None, column: None }
    }

    /// Names the rule, from 1.
    #[must_use]
    pub fn with_rule(mut self, rule: usize) -> Self {
        self.rule = Some(rule);
        self
    }

    /// Names the place in the rule's condition, in characters from 1.
    #[must_use]
    pub fn with_column(mut self, column: usize) -> Self {
        self.column = Some(column);
        self
    }
}

impl From<BridgeFault> for Detail {
    fn from(fault: BridgeFault) -> Self {
        Self::Bridge(fault)
    }
}
