//! The memory engines against the suites of their ports.

use std::process::ExitCode;
use std::sync::Arc;

use onex_memory::kafka::MemoryKafka;
use onex_spi::TokioClock;

fn main() -> ExitCode {
    // One broker for every case, as with a real cluster: the cases keep apart by their prefixes.
    let broker = MemoryKafka::new(Arc::new(TokioClock::new()));
    onex_testkit::kafka::driver::conformance(move |_| {
        let driver = broker.driver();
        async move { Ok(driver) }
    })
}
