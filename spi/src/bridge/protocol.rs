//! What authors of a protocol implement.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{BridgeMessage, DeadReason, MessageId};
use crate::provider::{KeyError, Table};
use crate::{Clock, Error, Lifecycle, Result};

/// The name of a protocol, such as `http`, `kafka`, `memory`; open, so that strangers can add theirs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Protocol(Arc<str>);

impl Protocol {
    /// Makes a name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Protocol {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

impl From<Protocol> for String {
    fn from(name: Protocol) -> Self {
        name.as_str().to_owned()
    }
}

impl Borrow<str> for Protocol {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a protocol may use while it opens an end of a bridge, and keep.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct BridgeContext {
    /// The clock for every timer.
    pub clock: Arc<dyn Clock>,
    /// The seed for every random decision.
    pub seed: u64,
    /// The name of the bridge.
    pub bridge: Arc<str>,
    /// The most bytes of a payload ([`BridgeConfig::message_bytes`](super::BridgeConfig::message_bytes)), so that a source
    /// which can refuse a larger one to its sender does so before it has read it.
    pub message_bytes: usize,
}

impl BridgeContext {
    /// Makes a context.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, seed: u64, bridge: impl Into<Arc<str>>, message_bytes: usize) -> Self {
        Self { clock, seed, bridge: bridge.into(), message_bytes }
    }
}

/// Makes the ends of bridges that speak one protocol.
#[async_trait]
pub trait BridgeProtocol: fmt::Debug + Send + Sync + 'static {
    /// The name that a configuration gives.
    fn name(&self) -> Protocol;

    /// Checks the configuration of a source without opening anything; empty = good.
    fn check_source(&self, config: &Table) -> Vec<KeyError>;

    /// Checks the configuration of a target without opening anything; empty = good.
    fn check_target(&self, config: &Table) -> Vec<KeyError>;

    /// Opens a source.
    ///
    /// # Errors
    /// `InvalidInput` for a configuration that [`check_source`](Self::check_source) refuses, `Unsupported` where the protocol
    /// has no sources, else what the opening meets: an end that cannot be reached is told here, not at the first message.
    /// # Cancellation
    /// Leaves nothing open.
    async fn source(&self, config: Table, context: &BridgeContext) -> Result<Arc<dyn BridgeSource>>;

    /// Opens a target.
    ///
    /// # Errors
    /// As [`source`](Self::source).
    /// # Cancellation
    /// Leaves nothing open.
    async fn target(&self, config: Table, context: &BridgeContext) -> Result<Arc<dyn BridgeTarget>>;
}

const _: fn(&dyn BridgeProtocol) = |_| ();

/// A source's word for a message that it handed out; unique among those not yet settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryTag(u64);

impl DeliveryTag {
    /// Makes a tag.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// What became of a message.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub enum Disposition {
    /// A target accepted it, by this route.
    Delivered(Arc<str>),
    /// The dead-letter target accepted it.
    DeadLettered(DeadReason),
    /// Nobody accepted it: it is the source's again, which requeues or refuses it as its configuration says.
    Failed(Error),
    /// The configuration says that it is to be dropped.
    Filtered,
}

/// The end of one tag.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Settled {
    /// The tag.
    pub tag: DeliveryTag,
    /// The message's id.
    pub id: MessageId,
    /// What became of it.
    pub disposition: Disposition,
    /// What the target answered, where it answers.
    pub reply: Option<BridgeMessage>,
}

impl Settled {
    /// Makes the end of a tag, without a reply.
    #[must_use]
    pub fn new(tag: DeliveryTag, id: MessageId, disposition: Disposition) -> Self {
        Self { tag, id, disposition, reply: None }
    }

    /// Adds what the target answered.
    #[must_use]
    pub fn with_reply(mut self, reply: Option<BridgeMessage>) -> Self {
        self.reply = reply;
        self
    }
}

/// Hands out messages and is told what became of each.
///
/// Closing it ([`Lifecycle::close`]) takes nothing new; [`receive`](Self::receive) then hands out what the source had already
/// promised to take, and answers 0. The close resolves once every tag handed out is settled and that is acknowledged to where
/// the messages came from, or fails with `TimedOut` after `within`; what is not settled then is not acknowledged.
#[async_trait]
pub trait BridgeSource: Lifecycle {
    /// Waits for messages and puts up to `max` (at least 1) of them at the end of `into`; answers how many, 0 = the source has ended.
    ///
    /// Nobody calls it while a call is pending. A source that must be looked after while nobody receives, such as a member of a
    /// Kafka group, does that itself.
    ///
    /// # Errors
    /// What the source met; a retryable one may pass, after any other the source has ended.
    /// # Cancellation
    /// Takes nothing: what was not put into `into` is handed out later.
    async fn receive(&self, max: usize, into: &mut Vec<(DeliveryTag, BridgeMessage)>) -> Result<usize>;

    /// Takes note of what became of messages, in any order; each tag once. Never waits: acknowledging goes on behind.
    fn settle(&self, settled: Vec<Settled>);

    /// Where the messages come from, one address for each, such as `kafka:orders`; for the law against loops (B13).
    fn addresses(&self) -> Vec<String>;
}

const _: fn(&dyn BridgeSource) = |_| ();

/// Accepts messages.
#[async_trait]
pub trait BridgeTarget: Lifecycle {
    /// Checks a route, such as a topic's name, without asking anybody else.
    ///
    /// # Errors
    /// `InvalidInput` saying what a route of this target looks like.
    fn check_route(&self, to: &str) -> Result<()>;

    /// Where messages of a route go, in the same words as [`BridgeSource::addresses`].
    fn address(&self, to: &str) -> String;

    /// Delivers `messages`, in order, to the route `to`, and answers for each, in order: `Ok` once it is accepted for good, with
    /// what the other side replied where it replies. An empty slice is no call to anybody.
    ///
    /// # Errors
    /// For each message: retryable ([`Error::is_retryable`] of an idempotent call) where another attempt may help, `NotFound` for a
    /// route that does not exist, anything else where this message will never be accepted.
    /// # Cancellation
    /// Each message is delivered or not; the target stays usable.
    async fn deliver(&self, to: &Arc<str>, messages: &[BridgeMessage]) -> Vec<Result<Option<BridgeMessage>>>;
}

const _: fn(&dyn BridgeTarget) = |_| ();
