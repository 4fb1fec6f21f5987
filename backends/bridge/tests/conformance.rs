//! The engine against the suite of the bridge, between the testkit's ends in memory.

use std::process::ExitCode;

fn main() -> ExitCode {
    onex_testkit::bridge::conformance(|setup| async move {
        onex_bridge::open(setup.protocols, setup.clock, setup.seed)
    })
}
