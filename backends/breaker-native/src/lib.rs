//! A lock-free CircuitBreaker, the default.
#![forbid(unsafe_code)]
