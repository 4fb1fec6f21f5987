//! HttpTransport on reqwest.
#![forbid(unsafe_code)]
