//! KafkaDriver on librdkafka.
#![forbid(unsafe_code)]
