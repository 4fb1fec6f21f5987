//! The client suite proves itself on the policy over memory: each bug is noticed by its cases and by no other.

use std::sync::Arc;

use onex_memory::kafka::MemoryKafka;
use onex_spi::TokioClock;
use onex_testkit::broken::Reach;

#[test]
fn every_bug_is_noticed_by_its_cases_and_by_no_other() {
    let broker = MemoryKafka::new(Arc::new(TokioClock::new()));
    let factory = move |_| {
        let client = onex_kafka_client::open(broker.driver());
        async move { Ok(client) }
    };
    let report = onex_testkit::kafka::broken::check_broken_clients(factory, Reach::All);
    println!("{report}");
    assert!(report.wrong.is_empty() && !report.caught.is_empty(), "{report}");
}
