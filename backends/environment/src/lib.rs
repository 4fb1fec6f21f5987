//! The composition root: names in a file become engines.
#![forbid(unsafe_code)]
