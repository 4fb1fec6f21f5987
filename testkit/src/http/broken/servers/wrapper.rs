//! A wrapper that changes nothing, and the places where a bug may change one thing.
//!
//! ```text
//!  suite ─► Buggy (serve, close, health) ─► good server ─► Handler (exchange) ─► the case's handler
//!              └─► Serving (in_flight, close, health) ─► the good server's
//! ```

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::http::{HttpRequest, HttpResponse, HttpServer, HttpService, HttpServing};
use onex_spi::{Health, Lifecycle, Result};

/// What is served at one address, or the way to it.
pub(super) type Served = Arc<dyn HttpServing>;

/// One changed behaviour; what a bug does not override is the good server's.
#[async_trait]
pub(super) trait Bug: fmt::Debug + Default + Send + Sync + 'static {
    /// Changes a request before the handler sees it.
    fn request(request: HttpRequest) -> HttpRequest {
        request
    }

    /// Changes what the handler came to.
    fn result(result: Result<HttpResponse>) -> Result<HttpResponse> {
        result
    }

    async fn exchange(&self, handler: &Arc<dyn HttpService>, request: HttpRequest) -> Result<HttpResponse> {
        Self::result(handler.exchange(Self::request(request)).await)
    }

    async fn serve(
        &self,
        good: &Arc<dyn HttpServer>,
        address: SocketAddr,
        handler: Arc<dyn HttpService>,
    ) -> Result<Served> {
        good.serve(address, handler).await
    }

    async fn close_server(&self, good: &Arc<dyn HttpServer>, within: Duration) -> Result<()> {
        good.close(within).await
    }

    async fn close(&self, good: &Served, within: Duration) -> Result<()> {
        good.close(within).await
    }

    /// Told when a handle is dropped.
    fn dropped(&self) {}

    /// Told when the server is dropped.
    fn server_dropped(&self) {}

    fn health(good: Health) -> Health {
        good
    }

    fn in_flight(good: u64) -> u64 {
        good
    }
}

/// A good server with a bug.
#[derive(Debug)]
struct Buggy<B: Bug> {
    good: Arc<dyn HttpServer>,
    bug: Arc<B>,
}

pub(super) fn add<B: Bug>(good: Arc<dyn HttpServer>) -> Arc<dyn HttpServer> {
    Arc::new(Buggy::<B> { good, bug: Arc::default() })
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<B: Bug> HttpServer for Buggy<B> {
    async fn serve(&self, address: SocketAddr, service: Arc<dyn HttpService>) -> Result<Served> {
        let handler = Arc::new(Handler { good: service, bug: self.bug.clone() });
        let good = self.bug.serve(&self.good, address, handler).await?;
        Ok(Arc::new(Serving { good, bug: self.bug.clone() }))
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<B: Bug> Lifecycle for Buggy<B> {
    async fn health(&self) -> Health {
        B::health(self.good.health().await)
    }

    async fn close(&self, within: Duration) -> Result<()> {
        self.bug.close_server(&self.good, within).await
    }
}

impl<B: Bug> Drop for Buggy<B> {
    fn drop(&mut self) {
        self.bug.server_dropped();
    }
}

#[derive(Debug)]
struct Handler<B> {
    good: Arc<dyn HttpService>,
    bug: Arc<B>,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<B: Bug> HttpService for Handler<B> {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse> {
        self.bug.exchange(&self.good, request).await
    }
}

#[derive(Debug)]
struct Serving<B: Bug> {
    good: Served,
    bug: Arc<B>,
}

#[deny(clippy::missing_trait_methods)]
impl<B: Bug> HttpServing for Serving<B> {
    fn local_addr(&self) -> SocketAddr {
        self.good.local_addr()
    }

    fn in_flight(&self) -> u64 {
        B::in_flight(self.good.in_flight())
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<B: Bug> Lifecycle for Serving<B> {
    async fn health(&self) -> Health {
        B::health(self.good.health().await)
    }

    async fn close(&self, within: Duration) -> Result<()> {
        self.bug.close(&self.good, within).await
    }
}

impl<B: Bug> Drop for Serving<B> {
    fn drop(&mut self) {
        self.bug.dropped();
    }
}
