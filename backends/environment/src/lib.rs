//! The composition root: names in a file become engines.
//!
//! ```text
//!  providers ─► EnvironmentBuilder ─┐
//!  onex.toml, profile, variables ───┴─► plan: every fault at once ─► open in order ─► Environment ─► Arc<dyn HttpClient>, ..
//! ```
//!
//! # Known gaps
//! - What is loaded stays: a file that changes is read at the next start.
#![doc = include_str!("../../../docs/guide/environments.md")]
#![forbid(unsafe_code)]

mod builder;
mod check;
mod document;
mod environment;
mod fault;
mod http_policy;
mod layer;
mod names;
mod open;
mod plan;
mod reference;
mod require;
mod secret;
mod table;
mod tree;
mod variables;

pub use self::builder::EnvironmentBuilder;
pub use self::environment::Environment;
pub use self::require::Requirement;
