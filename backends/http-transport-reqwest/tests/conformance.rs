//! The transport suite on this engine. Row CARD-04.

use onex_http_transport_reqwest::{Config, open};
use onex_spi::provider::OpenContext;

fn main() -> std::process::ExitCode {
    onex_testkit::http::transport::conformance(|setup| async move {
        open(Config::default(), &OpenContext::new(setup.clock, setup.seed)).await
    })
}
