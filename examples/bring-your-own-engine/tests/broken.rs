//! CARD-18: a deliberately wrong engine fails the suite, also when it is made of a stranger's.

use std::sync::Arc;

use example_bring_your_own_engine::dial::DialTransport;
use onex_spi::http::HttpTransport;
use onex_testkit::broken::Reach;
use onex_testkit::http::broken::check_broken;

#[test]
fn every_bug_that_is_added_is_caught_by_its_cases() {
    let report = check_broken(
        |setup| async move { Ok(Arc::new(DialTransport::new(setup.clock, None)) as Arc<dyn HttpTransport>) },
        Reach::Named,
    );
    assert!(report.wrong.is_empty(), "{report}");
    assert!(!report.caught.is_empty(), "{report}");
}
