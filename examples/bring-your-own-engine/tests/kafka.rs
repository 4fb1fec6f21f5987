//! The suite's verdict on [`LogDriver`]. Rows ONEX-EX-12, CARD-18, ONEX-GEN-02.

use std::sync::{Arc, LazyLock};

use example_bring_your_own_engine::log::{Log, LogDriver};
use onex_spi::kafka::KafkaDriver;

/// One cluster for all drivers that a case opens.
static LOG: LazyLock<Log> = LazyLock::new(Log::default);

fn main() -> std::process::ExitCode {
    onex_testkit::kafka::driver::conformance(|setup| async move {
        Ok(Arc::new(LogDriver::new(LOG.clone(), setup.clock)) as Arc<dyn KafkaDriver>)
    })
}
