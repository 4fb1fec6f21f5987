//! The program as its user meets it: files, signals, status, and what the process says and how it ends.

mod check;
#[cfg(feature = "rdkafka")]
mod killed;
mod run;
mod support;
