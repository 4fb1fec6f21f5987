//! Starts the real servers that the suites talk to.
#![forbid(unsafe_code)]
