//! The client that a case of the suite asks for, over whatever transport.

use std::sync::Arc;

use onex_http_client::{Config, HttpClientBuilder};
use onex_spi::Result;
use onex_spi::http::{HttpClient, HttpTransport};
use onex_testkit::http::client::HttpClientSetup;

pub(crate) fn client(
    setup: HttpClientSetup,
    transport: Arc<dyn HttpTransport>,
) -> Result<Arc<dyn HttpClient>> {
    let config = Config::new().with_retry(setup.retry).with_timeouts(setup.timeouts.into());
    let mut builder = HttpClientBuilder::new(transport, setup.clock).config(config).seed(setup.seed);
    if let Some(binding) = setup.breaker {
        builder = builder.breaker(binding);
    }
    builder = setup.around_call.into_iter().fold(builder, HttpClientBuilder::around_call);
    builder = setup.around_attempt.into_iter().fold(builder, HttpClientBuilder::around_attempt);
    builder.build()
}
