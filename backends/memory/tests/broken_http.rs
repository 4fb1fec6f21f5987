//! The HTTP transport suite proves itself on the memory network: every bug is caught by its cases and no other.

use onex_memory::http::MemoryHttp;
use onex_testkit::broken::Reach;
use onex_testkit::http::broken::check_broken;

#[test]
fn every_broken_transport_is_caught_by_its_cases_alone() {
    let report = check_broken(
        |setup| async move {
            let network = MemoryHttp::new(setup.clock);
            network.otherwise(setup.service);
            Ok(network.transport())
        },
        Reach::All,
    );
    assert!(report.wrong.is_empty(), "{report}");
    assert!(!report.caught.is_empty(), "{report}");
}
