//! The composition root: names in a file become engines.
//!
//! ```text
//!  onex.toml ─┐
//!  profile ───┼─► Environment::builder().with(provider)..load(path, profile) ─► Environment ─► Arc<dyn HttpClient>, ..
//!  variables ─┘
//! ```
#![forbid(unsafe_code)]

mod builder;
mod check;
mod document;
mod environment;
mod fault;
mod layer;
mod open;
mod plan;
mod reference;
mod require;
mod tree;
mod variables;

pub use self::builder::EnvironmentBuilder;
pub use self::environment::Environment;
pub use self::require::Requirement;
