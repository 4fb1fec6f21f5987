//! The suite bites over this engine too: each broken breaker fails exactly its cases.

use onex_breaker_native::{Config, open};
use onex_testkit::breaker::broken::prove;

#[test]
fn each_broken_breaker_fails_exactly_its_cases_over_the_native_one() {
    let wrong = prove(|setup| async move {
        open(Config::new().with_max_circuits(setup.max_circuits).with_defaults(setup.defaults), setup.clock)
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
