//! Bridging: messages that come in by one protocol and go out by another, by rules, with nothing lost.
//!
//! ```text
//!  BridgeSource ── receive(room) ─► rules: first match wins ─► BridgeTarget::deliver(to, batch) ── one answer a message
//!       ▲                              │ no rule, rule error, undecodable            │ transient: again, with back-off, same id
//!       │                              └──────────► default route, dead letter ◄─────┘ permanent, or tries used up
//!       └────────── settle(tag, disposition, reply) ◄─────── ledger: one entry a message, exact in every snapshot
//! ```
//!
//! # For callers
//! Hold an `Arc<dyn CommunicationBridge>`. A bridge moves messages by itself from its source to its targets;
//! [`CommunicationBridge::send_message_through_bridge`] is one more source of the same bridge: one path, one ledger.
//!
//! # For authors of a protocol
//! Implement [`BridgeProtocol`]: a factory of [`BridgeSource`]s and [`BridgeTarget`]s. The engine knows no protocol. A source
//! hands out messages under tags and is told of each tag once; a caller who waits for an answer is a tag like any other. A
//! target answers for each message. Retry, rules, dead letters and counting are the engine's.
//!
//! # Laws
//! - **B1** *Ledger.* `received = delivered + dead_lettered + failed + filtered + in_flight` in every snapshot; no counter falls;
//!   the sums over the routes equal the totals.
//! - **B2** *Nothing is lost.* A message that no rule takes, whose rule fails, that cannot be decoded or whose attempts are used up
//!   ends at the default route, as a dead letter, or as an honest failure; it is dropped only where the configuration says so.
//! - **B3** *Identity.* A message keeps its id over every attempt, into the dead letter, and to the target; payload, headers, key
//!   and metadata arrive as they came.
//! - **B4** *Rules.* First match wins; a missing field is no match; any other fault of a rule is [`DeadReason::RuleError`]. A set of
//!   rules is accepted whole or refused whole, and every message sees one whole set.
//! - **B5** *Acknowledgement.* A tag is settled once, after the message was delivered or dead-lettered, never before.
//! - **B6** *Retry.* What is worth another attempt ([`Error::is_retryable`](crate::Error::is_retryable) of an idempotent call) is attempted again at the times that
//!   [`BridgeRetry`] gives on the clock, at most `max_attempts` times; anything else gets exactly one.
//! - **B7** *Dead letters* hold the original bytes, headers, key, metadata and id, and say attempts, reason, last error, source, target
//!   and rule ([`DeadLetter`]). One that cannot be written is a failure of the message, told to whom it belongs.
//! - **B8** *Bounded.* No more than [`BridgeConfig::in_flight`] messages are taken and not settled; beyond that the source waits, and
//!   callers wait or get `ResourceExhausted`, as [`Overflow`] says.
//! - **B9** *Size.* A payload above [`BridgeConfig::message_bytes`] is `TooLarge` for the caller, before any effect; from a source
//!   that has nobody to tell it is a dead letter.
//! - **B10** *Lifecycle.* Destroying drains: what was taken is settled within the time, the rest is failed and told. Ids are never
//!   reused: a destroyed one is `Closed`, one never issued is `NotFound`. Names are unique while their bridge lives.
//! - **B11** *Cancellation.* A dropped send takes nothing back and leaks nothing: the message is counted once.
//! - **B12** *Secrets.* No error, status, health, metric, `Debug` or dead letter holds a secret of the configuration.
//! - **B13** *No loops.* A bridge whose target or dead-letter target is its own source is refused.

mod client;
mod config;
mod dead;
mod fault;
mod ledger;
mod message;
mod protocol;

pub use self::client::{
    BridgeHealth, BridgeId, BridgeInfo, BridgeReceipt, BridgeState, BridgeStatus, CommunicationBridge,
};
pub use self::config::{
    BridgeConfig, BridgeRetry, Condition, DeadLetterConfig, MessageFormat, Overflow, RoutingRule, Unmatched,
};
pub use self::dead::{DeadLetter, DeadReason};
pub use self::fault::{BridgeFault, BridgeReason};
pub use self::ledger::{BridgeMetrics, Ledger};
pub use self::message::{BridgeMessage, MessageId, MessageParts, Metadata};
pub use self::protocol::{
    BridgeContext, BridgeProtocol, BridgeSource, BridgeTarget, DeliveryTag, Disposition, Protocol, Settled,
};
