//! The transport suite on this engine.

use std::num::NonZeroUsize;

use onex_connect::Connector;
use onex_http_transport_hyper::{Config, open_with};
use onex_testkit::http::transport::HttpTransportSetup;

fn config(setup: &HttpTransportSetup) -> Config {
    let mut config = Config::default();
    config.max_idle_per_origin = setup.max_idle_per_origin.unwrap_or(config.max_idle_per_origin);
    if let Some(most) = setup.max_connections_per_origin.and_then(NonZeroUsize::new) {
        config.max_connections_per_origin = most;
    }
    config.idle_timeout = setup.idle_timeout.unwrap_or(config.idle_timeout);
    config
}

fn main() -> std::process::ExitCode {
    onex_testkit::http::transport::conformance(|setup| async move {
        open_with(config(&setup), Connector::system(setup.clock))
    })
}
