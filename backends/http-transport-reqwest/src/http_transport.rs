//! The port: one exchange through reqwest.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::http::{
    HttpBody, HttpCapabilities, HttpFeature, HttpRequest, HttpResponse, HttpService, HttpTransport, HttpUrl,
    PoolStats, Resolver, StatsSource,
};
use onex_spi::{Clock, Error, ErrorKind, Features, Gate, Health, Lifecycle, Result};

use crate::dial::{DialLayer, Dials, Names, Note};
use crate::{Config, error, request};

const OPERATION: &str = "http.exchange";

/// Moves exchanges by reqwest.
#[derive(Debug)]
pub(crate) struct ReqwestTransport {
    /// `None` = closed: with the client go its idle connections.
    client: Mutex<Option<reqwest::Client>>,
    resolver: Arc<dyn Resolver>,
    dials: Arc<Dials>,
    gate: Gate,
    capabilities: HttpCapabilities,
}

impl ReqwestTransport {
    pub(crate) fn new(config: &Config, resolver: Arc<dyn Resolver>, clock: Arc<dyn Clock>) -> Result<Self> {
        let dials = Arc::new(Dials::default());
        let layer = DialLayer { dials: dials.clone(), clock: clock.clone(), limit: config.connect_timeout };
        let mut builder = reqwest::Client::builder()
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .pool_max_idle_per_host(config.max_idle_per_origin)
            .pool_idle_timeout(config.idle_timeout)
            .dns_resolver(Arc::new(Names(resolver.clone())))
            .connector_layer(layer);
        if config.max_response_headers != Config::HEADERS {
            builder = builder.http1_max_headers(config.max_response_headers);
        }
        let client = builder.build().map_err(|error| {
            Error::new(ErrorKind::Unclassified, "http.open", "reqwest could not be built")
                .not_applied()
                .with_source(error)
        })?;
        let features = Features::none().with(HttpFeature::Wire).with(HttpFeature::Trailers);
        Ok(Self {
            client: Mutex::new(Some(client)),
            resolver,
            dials,
            gate: Gate::new("the transport", clock),
            capabilities: HttpCapabilities::new(features).with_response_headers(config.max_response_headers),
        })
    }

    fn client(&self) -> Result<reqwest::Client> {
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        client.clone().ok_or_else(|| Error::closed(OPERATION, "the transport"))
    }

    /// reqwest dials an IP literal without asking its resolver; ours, which may refuse addresses, is asked here.
    async fn vet_literal(&self, url: &HttpUrl) -> Result<()> {
        let host = url.host().trim_matches(['[', ']']);
        if host.parse::<IpAddr>().is_ok() {
            self.resolver.resolve(host).await?;
        }
        Ok(())
    }

    async fn send(&self, request: HttpRequest) -> Result<(HttpUrl, reqwest::Response)> {
        let (url, note) = (request.url.clone(), Note::new(request.timeouts.connect));
        let request = request::to_reqwest(request.into_parts())?;
        let client = self.client()?;
        self.vet_literal(&url).await?;
        let sent = note.with(client.execute(request)).await;
        sent.map(|response| (url, response)).map_err(|engine| error::head(engine, !note.dialled()))
    }
}

#[async_trait]
impl HttpService for ReqwestTransport {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse> {
        let mut pass = self.gate.enter(OPERATION)?;
        let (url, response) = tokio::select! {
            biased;
            sent = self.send(request) => sent?,
            () = pass.cut() => return Err(pass.cut_error(OPERATION)),
        };
        let (mut head, inner) = http::Response::<reqwest::Body>::from(response).into_parts();
        // What reqwest leaves there is its own.
        head.extensions.clear();
        Ok(HttpResponse::from_head(head, HttpBody::arriving(inner, pass, error::body).await, Some(url)))
    }
}

#[async_trait]
impl Lifecycle for ReqwestTransport {
    async fn health(&self) -> Health {
        self.gate.health()
    }

    async fn close(&self, within: Duration) -> Result<()> {
        self.gate.begin_close(within);
        // What runs has a clone of its own; the idle connections go with the last one.
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(client);
        self.gate.close("http.close", within).await
    }
}

impl HttpTransport for ReqwestTransport {
    fn capabilities(&self) -> &HttpCapabilities {
        &self.capabilities
    }

    /// What can be concluded from outside: dials and the exchanges that run; nothing of the pool.
    fn pool_stats(&self) -> PoolStats {
        let mut stats = PoolStats::new(StatsSource::Derived);
        stats.in_use = Some(self.gate.inside() as u64);
        stats.opened = Some(self.dials.opened.load(Ordering::Relaxed));
        stats.dial_errors = Some(self.dials.errors.load(Ordering::Relaxed));
        stats
    }
}
