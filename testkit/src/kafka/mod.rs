//! The Kafka suites, their broken engines, mocks and faults.
//!
//! ```text
//!  factory(KafkaSetup) ─► driver::trials           cases kafka.*          over Arc<dyn KafkaDriver>
//!                      ├► client::trials           cases kafka_client.*   over Arc<dyn KafkaClient>
//!                      └► broken::check_broken(..)  each bug is noticed by its cases and by no other
//!
//!  Faulty<dyn KafkaDriver>   seeded refusals, delays, lost answers      mock::MockKafkaClient   a test's own answers
//! ```
//!
//! A case may call its factory more than once, to get a second connection: two drivers made with setups of one
//! prefix must see the same cluster. Topics, groups and client names all begin with the prefix, so that cases run
//! side by side on one broker; they are left behind there.

pub mod broken;
pub mod client;
pub mod differential;
pub mod driver;
mod faulty;
pub mod mock;
mod setup;

pub use setup::KafkaSetup;
