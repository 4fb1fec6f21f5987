//! The driver against a real Apache Kafka: the slice that shows this engine's own machinery at work.

mod access;
mod closing;
mod consuming;
mod groups;
mod outages;
mod records;
mod support;
mod topics;
