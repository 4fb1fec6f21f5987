//! The suite bites over this engine too: each broken breaker fails exactly its cases.

use onex_breaker_failsafe::{Config, open};
use onex_testkit::breaker::broken::prove;

#[test]
fn each_broken_breaker_fails_exactly_its_cases_over_the_failsafe_one() {
    let wrong = prove(|setup| async move {
        let config = Config::new()
            .with_max_circuits(setup.max_circuits)
            .with_defaults(setup.defaults)
            .with_templates(setup.templates);
        open(config, setup.clock, setup.seed)
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
