//! The Kafka suites, their broken engines and mocks.
