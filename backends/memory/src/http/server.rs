//! The server: services at addresses of the memory network.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use onex_spi::http::{HttpBody, HttpReason, HttpResponse, HttpServer, HttpService, HttpServing};
use onex_spi::{Error, ErrorKind, Gate, Health, Lifecycle, Pass, Result};

use super::MemoryHttp;

/// Listens in a [`MemoryHttp`].
#[derive(Debug)]
pub(super) struct MemoryServer {
    network: MemoryHttp,
    serving: Mutex<Serving>,
}

#[derive(Debug, Default)]
struct Serving {
    closed: bool,
    /// Kept after a close too, so that closing again waits for it.
    all: Vec<Weak<MemoryServing>>,
}

impl MemoryServer {
    pub(super) fn new(network: MemoryHttp) -> Self {
        Self { network, serving: Mutex::default() }
    }

    fn serving(&self) -> MutexGuard<'_, Serving> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl HttpServer for MemoryServer {
    async fn serve(
        &self,
        address: SocketAddr,
        service: Arc<dyn HttpService>,
    ) -> Result<Arc<dyn HttpServing>> {
        let mut serving = self.serving();
        if serving.closed {
            return Err(Error::closed("http.serve", "the memory server"));
        }
        let gate = Gate::new("the listener", self.network.clock().clone());
        let listener = Arc::new(Listener { service, gate });
        let address = self.network.listen(address, &listener)?;
        let handle = Arc::new(MemoryServing { network: self.network.clone(), address, listener });
        serving.all.retain(|old| old.strong_count() > 0);
        serving.all.push(Arc::downgrade(&handle));
        Ok(handle)
    }
}

#[async_trait]
impl Lifecycle for MemoryServer {
    async fn health(&self) -> Health {
        if self.serving().closed {
            return Health::Unhealthy("the memory server is closed".to_owned());
        }
        Health::Healthy
    }

    /// Closes every address that is still listened at.
    async fn close(&self, within: Duration) -> Result<()> {
        let serving: Vec<_> = {
            let mut serving = self.serving();
            serving.closed = true;
            serving.all.iter().filter_map(Weak::upgrade).collect()
        };
        // All begin before the first is waited for, so that they share the time and a dropped call ends them all.
        serving.iter().for_each(|handle| handle.begin_close(within));
        let mut first_error = Ok(());
        for handle in serving {
            first_error = first_error.and(handle.close(within).await);
        }
        first_error
    }
}

/// Who answers at an address, found by the network as long as the address is listened at.
#[derive(Debug)]
pub(super) struct Listener {
    service: Arc<dyn HttpService>,
    gate: Gate,
}

impl Listener {
    pub(super) fn service(&self) -> &Arc<dyn HttpService> {
        &self.service
    }

    /// Accepts one exchange.
    pub(super) fn enter(&self) -> Result<Pass> {
        self.gate.enter("http.exchange").map_err(|_| {
            Error::new(ErrorKind::Unavailable, "http.exchange", "the server stopped listening")
                .not_applied()
                .with_detail(HttpReason::Connect)
        })
    }

    /// What the caller sees of the handler's answer: an error is a 500 and is traced, not told.
    pub(super) fn answered(&self, answer: Result<HttpResponse>) -> HttpResponse {
        answer.unwrap_or_else(|error| {
            tracing::error!(error = format!("{error:#}"), "the handler failed; answered 500");
            HttpResponse::new(StatusCode::INTERNAL_SERVER_ERROR, HttpBody::EMPTY)
        })
    }
}

/// One address that is listened at.
#[derive(Debug)]
pub(super) struct MemoryServing {
    network: MemoryHttp,
    address: SocketAddr,
    listener: Arc<Listener>,
}

impl MemoryServing {
    fn begin_close(&self, within: Duration) {
        self.network.unlisten(self.address, &self.listener);
        self.listener.gate.begin_close(within);
    }
}

impl HttpServing for MemoryServing {
    fn local_addr(&self) -> SocketAddr {
        self.address
    }

    fn in_flight(&self) -> u64 {
        self.listener.gate.inside() as u64
    }
}

#[async_trait]
impl Lifecycle for MemoryServing {
    async fn health(&self) -> Health {
        if self.listener.gate.is_closed() {
            return Health::Unhealthy(format!("{} is no longer listened at", self.address));
        }
        Health::Healthy
    }

    async fn close(&self, within: Duration) -> Result<()> {
        self.network.unlisten(self.address, &self.listener);
        self.listener.gate.close("http_server.close", within).await
    }
}

impl Drop for MemoryServing {
    fn drop(&mut self) {
        self.network.unlisten(self.address, &self.listener);
        self.listener.gate.cut();
    }
}
