//! The `CommunicationBridge` policy: rules, retry, dead letters and one ledger over any
//! [`BridgeProtocol`](onex_spi::bridge::BridgeProtocol).
//!
//! ```text
//!  open(protocols, clock, seed) ─► Arc<dyn CommunicationBridge> ─ create_bridge ─► ends opened, rules compiled ─► lane
//!                                     ├ send_message_through_bridge ─► inbox ─► the same lane, the same ledger
//!                                     └ configure_bridge_routing ─► a whole new rule set, or none
//! ```
//!
//! Nothing here knows a protocol but the modules of the protocols themselves.
//!
//! # What the policy decides
//! - Each bridge has one task. Groups of messages for different routes, and batches for one route, are delivered side by side;
//!   deliveries begin in the order in which messages came, and a retry may be overtaken.
//! - The source and callers share `in_flight` places; while callers use a bridge, its source gets at most half of the room at once.
//! - A target says by the kind of its error what becomes of a message: retryable = another attempt, `NotFound` = `missing_target`,
//!   `TooLarge` = `too_large`, `InvalidInput` or `Unsupported` with [`BridgeReason::InvalidMessage`] = `conversion_loss`, anything
//!   else = `rejected`. [`Error::retry_after`](onex_spi::Error::retry_after) does not change the times that `BridgeRetry` gives (B6).
//! - Dead letters get the same attempts as messages. One that cannot be written fails its message with both errors.
//! - A source that meets a retryable error is asked again with the same back-off, without end; the bridge is `Degraded` meanwhile.
//! - Unhealthy is a bridge from a delivery that failed for good until one succeeds.
//! - Destroying closes the ends too: the bridge opened them.
//!
//! [`BridgeReason::InvalidMessage`]: onex_spi::bridge::BridgeReason::InvalidMessage
//!
//! # Known gaps
//! No order per key over retries, no deduplication, no redrive.
#![forbid(unsafe_code)]

mod asking;
mod batch;
mod books;
mod bridge;
mod bridges;
mod check;
mod conditions;
mod error;
mod guarded;
mod held;
pub mod http;
mod ids;
mod inbox;
pub mod kafka;
mod lane;
pub mod memory;
mod opening;
mod registry;
mod running;
mod wire;

pub use self::bridges::open;
pub use self::check::check_rules;
pub use self::guarded::guarded;
