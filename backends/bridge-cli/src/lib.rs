//! Bridges from a file: `onex-bridge run FILE`, and the same for programs that bring their own engines.
//!
//! ```text
//!  FILE ─► environment: engines by name, [bridges.NAME] judged with the rest ─► protocols over the ports ─► CommunicationBridge
//!                                                                  Status: /healthz, /readyz, /metrics ◄──┘
//! ```
#![doc = include_str!("../../../docs/guide/bridges.md")]
#![forbid(unsafe_code)]

mod circuits;
mod file;
mod metrics;
mod service;
mod status;

pub use self::service::{Bridges, BridgesBuilder, RunningBridge};
pub use self::status::Status;
