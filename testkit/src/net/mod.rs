//! Networks for tests: scripted servers, a network inside the process, a proxy that does harm.
//!
//! ```text
//!  engine ─ TCP ──────────────► ScriptedServer ─► Script (raw bytes, step by step) or HttpService
//!  engine ─ TCP ─► FaultProxy ─► any server        delays, cuts, swallows
//!  engine ─ Dialer = MemoryNet ─► the same scripts and services over pipes; no socket, any address
//! ```
//!
//! Everything here tells what happened by notification (`until_requests`, `until_closed`, [`Gate`]), so that a
//! test never sleeps to let something happen.

mod connection;
mod gate;
mod h1;
mod log;
mod memory_net;
mod proxy;
mod raw;
mod script;
mod scripted;

pub use self::gate::Gate;
pub use self::log::{Exchange, Log, Received};
pub use self::memory_net::MemoryNet;
pub use self::proxy::{Carried, Direction, Ending, FaultProxy, Flow};
pub use self::raw::{RawConnection, RawResponse};
pub use self::script::{Answer, Script};
pub use self::scripted::ScriptedServer;
