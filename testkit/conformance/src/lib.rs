//! The program that runs every suite on every engine and reports.
#![forbid(unsafe_code)]
