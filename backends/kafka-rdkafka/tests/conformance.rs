//! The driver against the suite of its port, on a real Apache Kafka that lives as long as this process.
//! Row CARD-05.

use std::process::ExitCode;

use onex_kafka_rdkafka::{Config, open};
use onex_services::Kafka;
use onex_spi::provider::OpenContext;
use onex_testkit::kafka::driver::trials;
use onex_testkit::suite;

fn main() -> ExitCode {
    // The broker is bound to no runtime; each case has its own.
    let started = Kafka::available().map_err(|reason| reason.to_string()).and_then(|()| {
        let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
        runtime.block_on(Kafka::builder().start()).map_err(|error| error.to_string())
    });
    let servers = started.as_ref().map(|kafka| kafka.bootstrap_servers().to_vec()).unwrap_or_default();
    let mut trials = trials(move |setup| {
        let config = Config::new(servers.clone());
        async move { open(config, &OpenContext::new(setup.clock, setup.seed)).await }
    });
    if let Err(reason) = &started {
        trials = trials.iter().map(|trial| trial.missing(reason)).collect();
    }
    let code = suite::main(trials);
    drop(started);
    code
}
