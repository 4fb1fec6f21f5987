//! What a section of the environment may say.

use std::collections::BTreeMap;

use onex_spi::kafka::CreateTopicRequest;
use serde::{Deserialize, Serialize};

/// The section `kafka` with `engine = "memory"`.
///
/// # Examples
/// ```
/// let config: onex_memory::kafka::KafkaConfig = onex_spi::provider::parse_config(
///     "kafka.open",
///     r#"topics = [{ name = "orders", partitions = 3 }]"#.parse().unwrap(),
/// )?;
/// assert_eq!((config.default_partitions, config.topics[0].partitions), (1, Some(3)));
/// # Ok::<(), onex_spi::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaConfig {
    /// Topics that are there from the start; nothing is created by reading or writing. Default none.
    pub topics: Vec<TopicConfig>,
    /// The partitions of a topic that is created with `-1`. Default 1.
    pub default_partitions: i32,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self { topics: Vec::new(), default_partitions: 1 }
    }
}

/// A topic that is there from the start.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicConfig {
    /// The name.
    pub name: String,
    /// The number of partitions. Default `default_partitions`.
    #[serde(default)]
    pub partitions: Option<i32>,
    /// Settings by Kafka's names, such as `max.message.bytes`. Default none.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
}

impl From<TopicConfig> for CreateTopicRequest {
    fn from(topic: TopicConfig) -> Self {
        let mut request = Self::new(topic.name, topic.partitions.unwrap_or(-1));
        request.config = topic.config;
        request
    }
}
