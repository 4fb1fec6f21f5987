//! The server: services at addresses of the memory network.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use onex_spi::http::{HttpBody, HttpReason, HttpResponse, HttpServer, HttpService, HttpServing};
use onex_spi::{Error, ErrorKind, Health, Lifecycle, Result};

use super::MemoryHttp;
use super::gate::{Gate, Pass};

/// Listens in a [`MemoryHttp`].
#[derive(Debug)]
pub(super) struct MemoryServer {
    network: MemoryHttp,
    /// `None` = closed.
    serving: Mutex<Option<Vec<Weak<MemoryServing>>>>,
}

impl MemoryServer {
    pub(super) fn new(network: MemoryHttp) -> Self {
        Self { network, serving: Mutex::new(Some(Vec::new())) }
    }
}

#[async_trait]
impl HttpServer for MemoryServer {
    async fn serve(
        &self,
        address: SocketAddr,
        service: Arc<dyn HttpService>,
    ) -> Result<Arc<dyn HttpServing>> {
        let mut serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(serving) = serving.as_mut() else {
            return Err(Error::closed("http.serve", "the memory server"));
        };
        let listener = Arc::new(Listener { service, gate: Gate::default() });
        let address = self.network.listen(address, &listener)?;
        let handle = Arc::new(MemoryServing { network: self.network.clone(), address, listener });
        serving.retain(|old| old.strong_count() > 0);
        serving.push(Arc::downgrade(&handle));
        Ok(handle)
    }
}

#[async_trait]
impl Lifecycle for MemoryServer {
    async fn health(&self) -> Health {
        if self.serving.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            return Health::Unhealthy("the memory server is closed".to_owned());
        }
        Health::Healthy
    }

    /// Closes every address that is still listened at.
    async fn close(&self, within: Duration) -> Result<()> {
        let clock = self.network.clock();
        let deadline = clock.now().checked_add(within);
        let serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner).take();
        let serving: Vec<_> = serving.into_iter().flatten().filter_map(|handle| handle.upgrade()).collect();
        // All stop listening before the first is waited for.
        for handle in &serving {
            handle.network.unlisten(handle.address, &handle.listener);
        }
        let mut first_error = Ok(());
        for handle in serving {
            let left = deadline.map_or(within, |deadline| deadline.saturating_duration_since(clock.now()));
            first_error = first_error.and(handle.close(left).await);
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
        self.gate.enter("http.exchange", "the listener").map_err(|_| {
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

impl HttpServing for MemoryServing {
    fn local_addr(&self) -> SocketAddr {
        self.address
    }

    fn in_flight(&self) -> u64 {
        self.listener.gate.running()
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
        self.listener.gate.close(&**self.network.clock(), within, "http_server.close").await
    }
}

impl Drop for MemoryServing {
    fn drop(&mut self) {
        self.network.unlisten(self.address, &self.listener);
        self.listener.gate.cut();
    }
}
