//! The breaker suite on this engine. Row ONEX-GEN-02.

use std::process::ExitCode;
use std::sync::Arc;

use onex_breaker_native::{Config, NativeBreaker};

fn main() -> ExitCode {
    onex_testkit::breaker::conformance(|setup| async move {
        let config = Config::new()
            .with_max_circuits(setup.max_circuits)
            .with_defaults(setup.defaults)
            .with_templates(setup.templates);
        Ok(Arc::new(NativeBreaker::with_seed(config, setup.clock, setup.seed)?) as Arc<_>)
    })
}
