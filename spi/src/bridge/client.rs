//! The caller's side.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{BridgeConfig, BridgeMessage, BridgeMetrics, Disposition, MessageId, Protocol, RoutingRule};
use crate::{Error, Health, Lifecycle, Result};

/// A bridge of one engine; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BridgeId(NonZeroU64);

impl BridgeId {
    /// Wraps a number that was never used before; for implementers.
    #[must_use]
    pub fn new(number: NonZeroU64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> NonZeroU64 {
        self.0
    }
}

impl fmt::Display for BridgeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bridge {}", self.0)
    }
}

/// How far a bridge is.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BridgeState {
    /// It moves messages.
    Running,
    /// It moves messages, and some deliveries fail for now: they wait for another attempt.
    Degraded,
    /// It takes nothing new and settles what it has.
    Draining,
    /// Its source ended; callers can still send.
    Ended,
    /// Its source failed for good; callers can still send. [`BridgeStatus::last_error`] says why.
    Failed,
}

/// What a bridge did so far.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct BridgeStatus {
    /// How far it is.
    pub state: BridgeState,
    /// The messages that are settled, whatever became of them.
    pub messages_processed: u64,
    /// The last error of a delivery or of the source.
    pub last_error: Option<Error>,
}

impl BridgeStatus {
    /// Makes a status.
    #[must_use]
    pub fn new(state: BridgeState, messages_processed: u64, last_error: Option<Error>) -> Self {
        Self { state, messages_processed, last_error }
    }
}

/// One line of the list of bridges.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeInfo {
    /// Its id.
    pub id: BridgeId,
    /// Its name.
    pub name: Arc<str>,
    /// The protocol of its source.
    pub source: Protocol,
    /// The protocol of its target.
    pub target: Protocol,
    /// How far it is.
    pub state: BridgeState,
}

impl BridgeInfo {
    /// Makes a line.
    #[must_use]
    pub fn new(id: BridgeId, name: Arc<str>, source: Protocol, target: Protocol, state: BridgeState) -> Self {
        Self { id, name, source, target, state }
    }
}

/// How a bridge and its ends are, looked at now.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeHealth {
    /// The bridge as a whole: the worst of its ends, and `Degraded` while deliveries fail for now, `Unhealthy` while the last
    /// one failed for good.
    pub state: Health,
    /// The source.
    pub source: Health,
    /// The target.
    pub target: Health,
    /// The dead-letter target.
    pub dead_letter: Option<Health>,
    /// The messages taken and not settled.
    pub backlog: u64,
    /// How long ago a message was delivered.
    pub last_success: Option<Duration>,
}

impl BridgeHealth {
    /// Makes the health of a bridge without a dead-letter target that never delivered anything.
    #[must_use]
    pub fn new(state: Health, source: Health, target: Health, backlog: u64) -> Self {
        Self { state, source, target, dead_letter: None, backlog, last_success: None }
    }
}

/// What became of a message that a caller sent.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct BridgeReceipt {
    /// The message's id.
    pub message_id: MessageId,
    /// Delivered, dead-lettered or filtered; a message that failed is an error of the call.
    pub disposition: Disposition,
    /// What the target answered, where it answers.
    pub reply: Option<BridgeMessage>,
}

impl BridgeReceipt {
    /// Makes a receipt.
    #[must_use]
    pub fn new(message_id: MessageId, disposition: Disposition, reply: Option<BridgeMessage>) -> Self {
        Self { message_id, disposition, reply }
    }

    /// Whether a target accepted the message: ONEX `success`.
    #[must_use]
    #[doc(alias = "success")]
    pub fn is_delivered(&self) -> bool {
        matches!(self.disposition, Disposition::Delivered(_))
    }
}

/// Moves messages between protocols.
///
/// Its [`close`](Lifecycle::close) destroys every bridge within the time.
#[async_trait]
#[doc(alias = "ProtocolCommunicationBridge")]
pub trait CommunicationBridge: Lifecycle {
    /// Opens the ends, compiles the rules and starts a bridge.
    ///
    /// # Errors
    /// `AlreadyExists` for a name in use; `InvalidInput` for an unknown protocol (the message lists the known ones), a
    /// configuration that is refused, a rule that does not compile, a loop (B13); else what opening the ends meets.
    /// Nothing is left open.
    /// # Cancellation
    /// Leaves nothing open.
    async fn create_bridge(
        &self,
        name: &str,
        source: Protocol,
        target: Protocol,
        config: BridgeConfig,
    ) -> Result<BridgeId>;

    /// Drains a bridge for up to `within` and ends it (B10). A second call waits for the first and is `Ok`.
    ///
    /// # Errors
    /// `NotFound` for an id never issued; `TimedOut` where messages were failed at `within`; the bridge is ended all the same.
    /// # Cancellation
    /// The drain goes on; calling again waits for it.
    async fn destroy_bridge(&self, id: BridgeId, within: Duration) -> Result<()>;

    /// Sends one message through a bridge and waits until it is settled: the same rules, attempts, dead letters and ledger as for
    /// messages of the source.
    ///
    /// # Errors
    /// `NotFound` and `Closed` for the id; `TooLarge` and `ResourceExhausted` before any effect; else why delivery failed where
    /// no dead-letter target took the message: it is the caller's again.
    /// # Cancellation
    /// Before the message is taken: nothing happened. Afterwards it takes its way (B11).
    async fn send_message_through_bridge(
        &self,
        id: BridgeId,
        message: BridgeMessage,
    ) -> Result<BridgeReceipt>;

    /// What a bridge did so far.
    ///
    /// # Errors
    /// `NotFound`, `Closed`.
    #[doc(alias = "get_bridge_status")]
    fn bridge_status(&self, id: BridgeId) -> Result<BridgeStatus>;

    /// The counters of a bridge, read in one moment.
    ///
    /// # Errors
    /// `NotFound`, `Closed`.
    #[doc(alias = "get_bridge_metrics")]
    fn bridge_metrics(&self, id: BridgeId) -> Result<BridgeMetrics>;

    /// Puts `rules` in the place of the bridge's rules, whole or not at all (B4).
    ///
    /// # Errors
    /// `NotFound`, `Closed`; `InvalidInput` naming the rule and the column; the rules in force stay in force.
    fn configure_bridge_routing(&self, id: BridgeId, rules: Vec<RoutingRule>) -> Result<()>;

    /// The bridges that live, by name.
    #[doc(alias = "get_all_bridges")]
    fn all_bridges(&self) -> Vec<BridgeInfo>;

    /// Looks now how a bridge and its ends are; never longer than a few seconds.
    ///
    /// # Errors
    /// `NotFound`, `Closed`.
    /// # Cancellation
    /// Leaves nothing behind.
    async fn monitor_bridge_health(&self, id: BridgeId) -> Result<BridgeHealth>;
}

const _: fn(&dyn CommunicationBridge) = |_| ();
