//! Support for engines that dial: resolve, dial, count.
//!
//! ```text
//!  host ─► Resolver (literals too, so that a vetting one sees them) ─► addresses, in order
//!       ─► Dialer (TCP, or a simulated network) ─► Connection, counted until it is dropped
//!  all of it under one connect timeout on the injected clock
//! ```
//!
//! This is a library that several engines use, not an engine: it fills no port. [`Dialer`] is the one
//! seam that a simulation replaces; its [`Io`] is tokio's, which is why it is no port of `onex-spi`.
//!
//! Known gaps: no TLS yet, [`Connector::connect_to`] refuses `https` before any effect. Addresses are dialled one after
//! the other: a silent one uses up the time of those behind it. The system's resolver does not tell a name that does not
//! exist from a name server that does not answer: both are `NotFound`.
#![forbid(unsafe_code)]

mod connector;
mod counters;
mod dial;
mod error;
mod io;
mod resolve;

pub use connector::Connector;
pub use counters::ConnectStats;
pub use dial::{Dialer, TcpDialer};
pub use error::dial_error;
pub use io::{Connection, Io};
pub use resolve::SystemResolver;
