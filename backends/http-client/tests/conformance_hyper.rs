//! The client suite over hyper.

mod common;

use onex_http_transport_hyper::{Config, open};
use onex_spi::provider::OpenContext;

fn main() -> std::process::ExitCode {
    onex_testkit::http::client::conformance(|setup| async move {
        let transport = open(Config::default(), &OpenContext::new(setup.clock.clone(), setup.seed)).await?;
        common::client(setup, transport)
    })
}
