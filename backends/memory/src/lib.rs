//! Every engine port inside one process: the embedded default and the readable reference.
#![forbid(unsafe_code)]
