//! The breaker suite on this engine. Rows ONEX-GEN-02, CARD-08.

use std::process::ExitCode;

use onex_breaker_failsafe::{Config, open};

fn main() -> ExitCode {
    onex_testkit::breaker::conformance(|setup| async move {
        let config = Config::new()
            .with_max_circuits(setup.max_circuits)
            .with_defaults(setup.defaults)
            .with_templates(setup.templates);
        open(config, setup.clock, setup.seed)
    })
}
