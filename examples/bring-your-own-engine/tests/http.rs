//! The suite's verdict on [`DialTransport`]. Rows ONEX-EX-12, CARD-18.

use std::sync::Arc;

use example_bring_your_own_engine::dial::DialTransport;
use onex_spi::http::HttpTransport;

fn main() -> std::process::ExitCode {
    onex_testkit::http::transport::conformance(|setup| async move {
        Ok(Arc::new(DialTransport::new(setup.clock, None)) as Arc<dyn HttpTransport>)
    })
}
