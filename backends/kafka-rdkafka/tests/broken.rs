//! The suite proves itself on a real broker: each bug is noticed by the cases that are named for it.

use onex_kafka_rdkafka::{Config, open};
use onex_services::Kafka;
use onex_spi::provider::OpenContext;
use onex_testkit::broken::Reach;
use onex_testkit::kafka::broken::check_broken;

#[test]
fn every_bug_is_noticed_on_a_real_broker() {
    if let Err(reason) = Kafka::available() {
        assert!(!onex_services::required(), "{reason}");
        eprintln!("ignored: {reason}");
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let kafka = runtime.block_on(Kafka::builder().start()).expect("Kafka starts");
    let servers = kafka.bootstrap_servers().to_vec();
    let factory = move |setup: onex_testkit::kafka::KafkaSetup| {
        let config = Config::new(servers.clone());
        async move { open(config, &OpenContext::new(setup.clock, setup.seed)).await }
    };
    let report = check_broken(factory, Reach::Named);
    println!("{report}");
    assert!(report.wrong.is_empty() && !report.caught.is_empty(), "{report}");
}
