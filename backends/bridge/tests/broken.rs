//! The bridge suite proves itself on this engine: each bug is noticed by its cases and by no other.

use onex_testkit::broken::Reach;

#[test]
fn every_bug_is_noticed_by_its_cases_and_by_no_other() {
    let engine = |setup: onex_testkit::bridge::BridgeSetup| async move {
        onex_bridge::open(setup.protocols, setup.clock, setup.seed)
    };
    let report = onex_testkit::bridge::broken::check_broken(engine, Reach::All);
    println!("{report}");
    assert!(report.wrong.is_empty() && report.caught.len() >= 12, "{report}");
}
