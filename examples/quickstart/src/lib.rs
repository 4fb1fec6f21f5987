//! An order service coded against onex ports, on memory or on the real thing.
#![forbid(unsafe_code)]
