//! HttpTransport on hyper's connection API with a pool of its own.
#![forbid(unsafe_code)]
