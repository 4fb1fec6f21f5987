//! The port.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http_body::Body;
use onex_connect::Connector;
use onex_spi::http::{
    HttpCapabilities, HttpFeature, HttpRequest, HttpResponse, HttpService, HttpTransport, PoolStats,
};
use onex_spi::{Error, ErrorKind, Features, Health, Lifecycle, Result};

use crate::body::Answer;
use crate::lease::Lease;
use crate::pool::Pool;
use crate::{Config, error, request};

/// The handle; dropping it lets go of the idle connections and their tasks.
#[derive(Debug)]
pub(crate) struct HyperTransport {
    pool: Arc<Pool>,
    capabilities: HttpCapabilities,
}

impl HyperTransport {
    pub(crate) fn new(config: &Config, connector: Connector) -> Self {
        let features = Features::none()
            .with(HttpFeature::Wire)
            .with(HttpFeature::Trailers)
            .with(HttpFeature::ExactPoolStats)
            .with(HttpFeature::ExactTarget);
        let capabilities = HttpCapabilities::new(features)
            .with_connections_per_origin(config.max_connections_per_origin.get())
            .with_response_headers(config.max_response_headers);
        Self { pool: Pool::new(config, connector), capabilities }
    }
}

impl Drop for HyperTransport {
    fn drop(&mut self) {
        self.pool.abandon();
    }
}

#[async_trait]
impl HttpService for HyperTransport {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse> {
        let parts = request.into_parts();
        let connect = parts.timeouts.connect;
        let (mut request, url) = request::to_hyper(parts)?;
        let mut running = false;
        loop {
            let mut lease = Lease::acquire(&self.pool, &url, connect, running).await?;
            request::add_host(request.headers_mut(), lease.host());
            let response = match lease.send(request).await {
                Ok(response) => response,
                Err(mut failed) => {
                    let unsent = failed.take_message();
                    // The server closed the idle connection: nothing was sent, so this is no retry.
                    // Each turn uses up one dead connection, and a new one ends the loop.
                    if lease.reused
                        && let Some(unsent) = unsent
                    {
                        request = unsent;
                        running = true;
                        continue;
                    }
                    let error = error::head(failed.into_error(), lease.reused, self.pool.was_cut());
                    return Err(if unsent.is_some() { error.not_applied() } else { error });
                }
            };
            let (head, incoming) = response.into_parts();
            // Chunks win over a length that is there as well, but such a peer is not to be trusted with
            // a second exchange (RFC 9112 §6.1).
            let ambiguous = incoming.size_hint().exact().is_none()
                && head.headers.contains_key(CONTENT_LENGTH)
                && head.headers.contains_key(TRANSFER_ENCODING);
            let mut answer = Answer::new(incoming, lease, !ambiguous);
            poll_fn(|cx| answer.poll_early(cx)).await;
            return Ok(HttpResponse::from_head(head, answer.into_body(), Some(url)));
        }
    }
}

#[async_trait]
impl Lifecycle for HyperTransport {
    async fn health(&self) -> Health {
        if self.pool.is_open() { Health::Healthy } else { Health::Unhealthy("closed".into()) }
    }

    async fn close(&self, within: Duration) -> Result<()> {
        if self.pool.close(within).await {
            return Ok(());
        }
        let message = format!("exchanges still ran after {within:?} and were cut");
        Err(Error::new(ErrorKind::TimedOut, "http.close", message))
    }
}

#[async_trait]
impl HttpTransport for HyperTransport {
    fn capabilities(&self) -> &HttpCapabilities {
        &self.capabilities
    }

    fn pool_stats(&self) -> PoolStats {
        self.pool.stats()
    }
}
