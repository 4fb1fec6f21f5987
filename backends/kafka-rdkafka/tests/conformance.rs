//! The driver against the suite of its port, on a real Apache Kafka that lives as long as this process.

use std::process::ExitCode;
use std::sync::Arc;

use onex_kafka_rdkafka::{Config, open};
use onex_services::Kafka;
use onex_spi::provider::OpenContext;
use onex_testkit::kafka::driver::trials;
use onex_testkit::suite::{self, Trial};

fn main() -> ExitCode {
    if let Err(reason) = Kafka::available() {
        if suite::required() {
            eprintln!("required, but {reason}");
            return ExitCode::FAILURE;
        }
        let none = trials(|_| async { Err(onex_spi::Error::unsupported("kafka.open", "no broker")) });
        return suite::main(
            none.iter().map(|trial| Trial::ignored(trial.id(), reason.to_string())).collect(),
        );
    }
    // The broker is bound to no runtime; each case has its own.
    let started = tokio::runtime::Runtime::new().map(|runtime| runtime.block_on(Kafka::builder().start()));
    let kafka = match started {
        Ok(Ok(kafka)) => Arc::new(kafka),
        Ok(Err(error)) => {
            eprintln!("Kafka does not start: {error}");
            return ExitCode::FAILURE;
        }
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let servers = kafka.bootstrap_servers().to_vec();
    let code = suite::main(trials(move |setup| {
        let config = Config::new(servers.clone());
        async move { open(config, &OpenContext::new(setup.clock, setup.seed)).await }
    }));
    drop(kafka);
    code
}
