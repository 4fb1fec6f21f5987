//! An environment seen from outside, on engines that write down what happens to them.

mod engines;
mod faults;
mod http;
mod kafka;
mod opening;
mod support;
mod tables;
