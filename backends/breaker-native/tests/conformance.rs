//! The breaker suite on this engine. Row ONEX-GEN-02.

use std::process::ExitCode;

use onex_breaker_native::{Config, open};

fn main() -> ExitCode {
    onex_testkit::breaker::conformance(|setup| async move {
        open(Config::new().with_max_circuits(setup.max_circuits).with_defaults(setup.defaults), setup.clock)
    })
}
