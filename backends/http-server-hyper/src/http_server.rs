//! The port: opens listening addresses and closes what is left of them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::http::{HttpServer, HttpService, HttpServing};
use onex_spi::{Clock, Health, Lifecycle, Result};
use tokio::net::TcpListener;

use crate::serving::{Serving, Shared};
use crate::{Config, accept, error};

#[derive(Debug)]
pub(crate) struct HyperServer {
    config: Config,
    clock: Arc<dyn Clock>,
    listening: Mutex<AllListening>,
}

#[derive(Debug, Default)]
struct AllListening {
    closed: bool,
    all: Vec<Listening>,
}

struct Listening(Weak<Shared>);

impl std::fmt::Debug for Listening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.upgrade() {
            Some(shared) => write!(f, "{}", shared.address),
            None => f.write_str("gone"),
        }
    }
}

impl HyperServer {
    pub(crate) fn new(config: Config, clock: Arc<dyn Clock>) -> Self {
        Self { config, clock, listening: Mutex::default() }
    }

    fn listening(&self) -> MutexGuard<'_, AllListening> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl HttpServer for HyperServer {
    async fn serve(
        &self,
        address: SocketAddr,
        service: Arc<dyn HttpService>,
    ) -> Result<Arc<dyn HttpServing>> {
        if self.listening().closed {
            return Err(error::closed());
        }
        let listener = TcpListener::bind(address).await.map_err(|error| error::listen(address, error))?;
        let found = listener.local_addr().map_err(|error| error::listen(address, error))?;
        let shared = Shared::new(service, self.clock.clone(), found);
        // Under the lock: a close either finds this address or forbids it.
        let mut listening = self.listening();
        if listening.closed {
            return Err(error::closed());
        }
        listening.all.retain(|listening| listening.0.strong_count() > 0);
        listening.all.push(Listening(Arc::downgrade(&shared)));
        let accepting = tokio::spawn(accept::accept(shared.clone(), listener, self.config.clone()));
        shared.accepts_by(accepting.abort_handle());
        Ok(Arc::new(Serving(shared)))
    }
}

#[async_trait]
impl Lifecycle for HyperServer {
    async fn health(&self) -> Health {
        if self.listening().closed { Health::Unhealthy("closed".into()) } else { Health::Healthy }
    }

    /// Closes every address that still serves, all within the same time.
    async fn close(&self, within: Duration) -> Result<()> {
        let deadline = self.clock.now().checked_add(within);
        let open: Vec<_> = {
            let mut listening = self.listening();
            listening.closed = true;
            listening.all.iter().filter_map(|listening| listening.0.upgrade()).collect()
        };
        let closing: Vec<_> = open.into_iter().filter(|shared| shared.begin_close(deadline)).collect();
        let mut in_time = true;
        for shared in closing {
            in_time &= shared.closed().await;
        }
        if in_time { Ok(()) } else { Err(error::cut(within)) }
    }
}
