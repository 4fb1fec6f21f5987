//! Every trait of onex and its data: ports, errors, decisions; no runtime and no network.
#![forbid(unsafe_code)]
