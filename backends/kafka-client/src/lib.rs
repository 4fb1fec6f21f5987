//! The KafkaClient policy: ids, handles, commits and group information over any KafkaDriver.
#![forbid(unsafe_code)]
