//! The suite's verdict on [`LogDriver`].

use std::sync::{Arc, LazyLock};

use example_bring_your_own_engine::log::LogDriver;
use onex_spi::TokioClock;
use onex_spi::kafka::KafkaDriver;

static LOG: LazyLock<LogDriver> = LazyLock::new(|| LogDriver::new(Arc::new(TokioClock::new())));

fn main() -> std::process::ExitCode {
    onex_testkit::kafka::driver::conformance(|_| async {
        Ok(Arc::new(LOG.another()) as Arc<dyn KafkaDriver>)
    })
}
