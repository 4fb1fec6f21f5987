//! Starts the real servers that the suites talk to.
//!
//! [`Kafka`] is Apache Kafka in KRaft mode from the jars on Maven Central: no container, no root, nothing that listens
//! outside 127.0.0.1. It needs a Java runtime (17 or newer) and, for the first start, Maven and the network.
//!
//! ```text
//!  KafkaBuilder::start
//!    ├─ jars: mvn dependency:copy-dependencies ──► <cache>/kafka-4.3.1/*.jar       once per cache
//!    ├─ archive: start, stop, keep the classes ──► <cache>/kafka-4.3.1/java-*.jsa  once per cache and Java
//!    ├─ ports: probe 127.0.0.1:10000-32767  ◄──────────────────────────┐
//!    ├─ format each node's directory (StorageTool)                     │ "Address already in use":
//!    └─ start each node, wait for "Kafka Server started" ──────────────┘ new ports, empty directory
//!
//!  this process ──pipe──► sh ──► java         "stop" = SIGTERM, "kill" = SIGKILL,
//!        ▲                        │           end of the pipe (this process is gone) = SIGKILL and remove the data
//!        └──────── its log ───────┘           end of the log = the broker is gone
//! ```
//!
//! The cache is `$ONEX_SERVICES_DIR`, or else `onex-services` in Cargo's target directory. Any number of processes may
//! start brokers at the same time: what the cache holds is made under a file lock and appears by a rename.
//!
//! Starting takes a Tokio runtime with time enabled; the running broker is bound to none, so that one may serve tests
//! that each have their own.
//!
//! A suite that cannot run says so. [`Kafka::available`] tells why; with `ONEX_CONFORMANCE=required` in the environment
//! (see [`required`]) the caller fails instead of ignoring the case.
//!
//! ```no_run
//! # async fn run() -> Result<(), onex_services::ServiceError> {
//! let kafka = onex_services::Kafka::builder().nodes(3).start().await?;
//! println!("{}", kafka.bootstrap_servers().join(","));
//! kafka.kill(1).await?;
//! kafka.restart(1).await?;
//! kafka.stop().await
//! # }
//! ```
#![forbid(unsafe_code)]

mod builder;
mod cache;
mod error;
mod jars;
mod java;
mod kafka;
mod ports;
mod process;
mod properties;

pub use builder::{KafkaBuilder, Listener, SecurityProtocol};
pub use error::{ServiceError, Unavailable};
pub use kafka::Kafka;

/// Tells whether the environment asks that nothing be skipped: `ONEX_CONFORMANCE=required`.
#[must_use]
pub fn required() -> bool {
    std::env::var_os("ONEX_CONFORMANCE").is_some_and(|value| value == "required")
}
