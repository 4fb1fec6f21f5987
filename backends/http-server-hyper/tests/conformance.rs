//! The server suite on this engine.

use onex_http_server_hyper::{Config, open};
use onex_spi::provider::OpenContext;
use onex_testkit::http::server::{ServerUnderTest, conformance};

fn main() -> std::process::ExitCode {
    conformance(|setup| async move {
        let server = open(Config::default(), &OpenContext::new(setup.clock, setup.seed)).await?;
        Ok(ServerUnderTest::on_the_wire(server))
    })
}
