//! The breaker suite, its broken breakers and the reference breaker.
