//! The Kafka part of an error.

use std::borrow::Cow;

use super::TopicPartition;
use crate::Detail;

/// What the object that met an error needs; the engine's verdict, which kind and effect cannot say.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recovery {
    /// Nothing: the object works on.
    #[default]
    None,
    /// Repeat the call.
    Retry,
    /// Abort the transaction, or drop the batch; then go on.
    Abort,
    /// Open a new producer or consumer.
    Reopen,
}

/// The Kafka part of an [`Error`](crate::Error).
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaFault {
    /// Kafka's own name for the error, in capitals, such as `UNKNOWN_TOPIC_OR_PARTITION`; empty where the engine met none.
    pub name: Cow<'static, str>,
    /// Kafka's own number, where there is one.
    pub code: Option<i16>,
    /// What the object needs now.
    pub recovery: Recovery,
    /// The partition concerned.
    pub at: Option<TopicPartition>,
}

impl KafkaFault {
    /// Makes a fault with Kafka's name for it.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), code: None, recovery: Recovery::None, at: None }
    }

    /// Adds Kafka's number.
    #[must_use]
    pub fn with_code(mut self, code: i16) -> Self {
        self.code = Some(code);
        self
    }

    /// Adds what the object needs.
    #[must_use]
    pub fn with_recovery(mut self, recovery: Recovery) -> Self {
        self.recovery = recovery;
        self
    }

    /// Adds the partition concerned.
    #[must_use]
    pub fn with_at(mut self, at: TopicPartition) -> Self {
        self.at = Some(at);
        self
    }
}

impl From<KafkaFault> for Detail {
    fn from(fault: KafkaFault) -> Self {
        Self::Kafka(fault)
    }
}
