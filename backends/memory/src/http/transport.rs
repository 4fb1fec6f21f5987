//! The transport: one exchange through the network.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::http::{
    HttpBody, HttpCapabilities, HttpFeature, HttpReason, HttpRequest, HttpResponse, HttpService,
    HttpTimeouts, HttpTransport, PoolStats, StatsSource, connect_timed_out,
};
use onex_spi::{Effect, Error, ErrorKind, Features, Gate, Health, Lifecycle, Pass, Result};

use super::body::{ArrivingBody, Cut, Held};
use super::network::{Dialled, Network, Target};
use super::{MemoryFault, framing};

/// A way into a network.
#[derive(Debug)]
pub(super) struct MemoryTransport {
    network: Arc<Network>,
    gate: Gate,
    capabilities: HttpCapabilities,
}

impl MemoryTransport {
    pub(super) fn new(network: Arc<Network>) -> Self {
        let capabilities = HttpCapabilities::new(
            Features::none().with(HttpFeature::Trailers).with(HttpFeature::ExactTarget),
        );
        let gate = Gate::new("the memory transport", network.clock().clone());
        Self { network, gate, capabilities }
    }

    async fn connect(&self, takes: Duration, timeouts: &HttpTimeouts) -> Result<()> {
        let limit = timeouts.connect.filter(|limit| *limit < takes);
        self.wait(limit.unwrap_or(takes)).await;
        match limit {
            None => Ok(()),
            Some(limit) => Err(connect_timed_out(limit)),
        }
    }

    async fn wait(&self, time: Duration) {
        let clock = self.network.clock();
        match clock.now().checked_add(time) {
            Some(deadline) => clock.sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    }
}

const OPERATION: &str = "http.exchange";

#[async_trait]
impl HttpService for MemoryTransport {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse> {
        let mut pass = self.gate.enter(OPERATION)?;
        let (method, url, timeouts) = (request.method.clone(), request.url.clone(), request.timeouts);
        let (mut seen, sent) = framing::incoming(request)?;
        let Dialled { target, fault, peer } = self.network.dial(&url)?;
        let (service, mut listener) = match &target {
            Target::Service(service) => (service, None),
            Target::Listener(listener) => (listener.service(), Some(listener.enter()?)),
        };
        framing::from_peer(&mut seen, peer);

        let work = async {
            match fault {
                Some(MemoryFault::SlowConnect(takes)) => self.connect(takes, &timeouts).await?,
                Some(MemoryFault::Delay(time)) => self.wait(time).await,
                _ => {}
            }
            self.network.record(&seen);
            let answer = service.exchange(seen).await;
            match sent.and_then(|sent| sent.error()) {
                // The handler may have acted on what it had read.
                Some(error) => Err(error.with_effect(Effect::Unknown)),
                None => answer,
            }
        };
        let answer = tokio::select! {
            biased;
            answer = work => answer,
            () = pass.cut() => return Err(pass.cut_error(OPERATION)),
            () = hung_up(listener.as_mut()) => return Err(lost("the server closed the connection before it answered")),
        };
        if fault == Some(MemoryFault::LoseAnswer) {
            return Err(lost("the answer was lost, as the test asked"));
        }
        let answer = match &target {
            Target::Service(_) => answer?,
            Target::Listener(listener) => listener.answered(answer),
        };

        let (mut response, announced) = framing::outgoing(answer, &method, url)?;
        let cut = match fault {
            Some(MemoryFault::CutBody(after)) => Some(Cut { after, reason: HttpReason::IncompleteBody }),
            Some(MemoryFault::ResetBody(after)) => Some(Cut { after, reason: HttpReason::ConnectionReset }),
            _ => None,
        };
        let whole = response.body.as_bytes().map(|bytes| bytes.len() as u64);
        let as_announced = announced.is_none_or(|length| whole == Some(length));
        if whole.is_some() && as_announced && cut.is_none() {
            return Ok(response);
        }
        let held = Held { transport: pass, listener };
        let inner = std::mem::take(&mut response.body);
        response.body = HttpBody::new(ArrivingBody::new(inner, announced, cut, held));
        Ok(response)
    }
}

#[async_trait]
impl Lifecycle for MemoryTransport {
    async fn health(&self) -> Health {
        self.gate.health()
    }

    async fn close(&self, within: Duration) -> Result<()> {
        self.gate.close("http.close", within).await
    }
}

impl HttpTransport for MemoryTransport {
    fn capabilities(&self) -> &HttpCapabilities {
        &self.capabilities
    }

    /// The exchanges that run, bodies included; there are no connections to count.
    fn pool_stats(&self) -> PoolStats {
        let mut stats = PoolStats::new(StatsSource::Derived);
        stats.in_use = Some(self.gate.inside() as u64);
        stats
    }
}

async fn hung_up(listener: Option<&mut Pass>) {
    match listener {
        Some(pass) => pass.cut().await,
        None => std::future::pending().await,
    }
}

fn lost(message: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, OPERATION, message).with_detail(HttpReason::ConnectionLost)
}
