//! A stranger's engines and the suite that judges them in three lines.
#![forbid(unsafe_code)]
