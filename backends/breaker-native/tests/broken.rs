//! The suite bites over this engine too: each broken breaker fails exactly its cases.

use std::sync::Arc;

use onex_breaker_native::{Config, NativeBreaker};
use onex_testkit::breaker::broken::prove;

#[test]
fn each_broken_breaker_fails_exactly_its_cases_over_the_native_one() {
    let wrong = prove(|setup| async move {
        let config = Config::new()
            .with_max_circuits(setup.max_circuits)
            .with_defaults(setup.defaults)
            .with_templates(setup.templates);
        Ok(Arc::new(NativeBreaker::with_seed(config, setup.clock, setup.seed)?) as Arc<_>)
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
