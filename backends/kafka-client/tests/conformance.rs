//! The policy over the memory broker against the suite of the callers' port.

use std::process::ExitCode;
use std::sync::Arc;

use onex_memory::kafka::MemoryKafka;
use onex_spi::TokioClock;

fn main() -> ExitCode {
    // One broker for every case, as with a real cluster: the cases keep apart by their prefixes.
    let broker = MemoryKafka::new(Arc::new(TokioClock::new()));
    onex_testkit::kafka::client::conformance(move |_| {
        let client = onex_kafka_client::open(broker.driver());
        async move { Ok(client) }
    })
}
