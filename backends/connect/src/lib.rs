//! Support for engines that dial: resolve, dial, count.
#![forbid(unsafe_code)]
