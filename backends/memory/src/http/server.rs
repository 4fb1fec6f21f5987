//! The server: services at addresses of the memory network.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::http::{HttpServer, HttpService, HttpServing};
use onex_spi::{Error, Gate, Health, Lifecycle, Result};

use super::listener::Listener;
use super::network::Network;

/// Listens in a network.
#[derive(Debug)]
pub(super) struct MemoryServer {
    network: Arc<Network>,
    serving: Mutex<Serving>,
}

#[derive(Debug, Default)]
struct Serving {
    closed: bool,
    /// Kept after a close too, so that closing again waits for it.
    all: Vec<Weak<MemoryServing>>,
}

impl MemoryServer {
    pub(super) fn new(network: Arc<Network>) -> Self {
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
        let listener = Arc::new(Listener::new(service, gate));
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

/// One address that is listened at.
#[derive(Debug)]
pub(super) struct MemoryServing {
    network: Arc<Network>,
    address: SocketAddr,
    listener: Arc<Listener>,
}

impl MemoryServing {
    fn begin_close(&self, within: Duration) {
        self.network.unlisten(self.address, &self.listener);
        self.listener.gate().begin_close(within);
    }
}

impl HttpServing for MemoryServing {
    fn local_addr(&self) -> SocketAddr {
        self.address
    }

    fn in_flight(&self) -> u64 {
        self.listener.gate().inside() as u64
    }
}

#[async_trait]
impl Lifecycle for MemoryServing {
    async fn health(&self) -> Health {
        if self.listener.gate().is_closed() {
            return Health::Unhealthy(format!("{} is no longer listened at", self.address));
        }
        Health::Healthy
    }

    async fn close(&self, within: Duration) -> Result<()> {
        self.network.unlisten(self.address, &self.listener);
        self.listener.gate().close("http_server.close", within).await
    }
}

impl Drop for MemoryServing {
    fn drop(&mut self) {
        self.network.unlisten(self.address, &self.listener);
        self.listener.gate().cut();
    }
}
