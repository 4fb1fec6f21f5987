//! Bugs about ends: what a close does, what it tells, what outlives it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::poll_immediate;
use onex_spi::http::{HttpServer, HttpService, HttpServing};
use onex_spi::{Error, ErrorKind, Health, Lifecycle, Result};

use super::wrapper::{Bug, Served, add};
use crate::broken::Broken;

pub(super) const BUGS: &[Broken<dyn HttpServer>] = &[
    Broken::new(
        "listens_after_close",
        "HTTP-41",
        &[
            "http_server.close_drains",
            "http_server.close_cuts",
            "http_server.close_dropped",
            "http_server.close_ends_idle",
        ],
        add::<ListensOn>,
    ),
    Broken::new(
        "closes_without_waiting",
        "HTTP-41",
        &["http_server.close_drains", "http_server.close_cuts", "http_server.close_dropped"],
        add::<DoesNotWait>,
    ),
    Broken::new(
        "cuts_before_its_time",
        "HTTP-41",
        &["http_server.close_cuts", "http_server.close_dropped"],
        add::<CutsEarly>,
    ),
    Broken::new(
        "never_cuts",
        "HTTP-41",
        &["http_server.close_cuts", "http_server.close_dropped"],
        add::<NeverCuts>,
    ),
    Broken::new("tells_no_cut", "HTTP-41", &["http_server.close_cuts"], add::<TellsNoCut>),
    Broken::new("closing_again_does_not_wait", "HTTP-41", &["http_server.close_dropped"], add::<ClosesOnce>),
    Broken::new("forgets_a_dropped_close", "HTTP-41", &["http_server.close_dropped"], add::<ForgetsClose>),
    Broken::new(
        "is_closed_and_healthy",
        "HTTP-41",
        &["http_server.close_drains", "http_server.close_of_the_server"],
        add::<StaysHealthy>,
    ),
    Broken::new(
        "serves_after_the_servers_close",
        "HTTP-41",
        &["http_server.close_of_the_server"],
        add::<ServesOn>,
    ),
    Broken::new("leaves_addresses_open", "HTTP-41", &["http_server.close_of_the_server"], add::<LeavesOpen>),
    Broken::new("serves_without_its_handle", "HTTP-24", &["http_server.drop_cuts"], add::<KeepsHandles>),
];

#[derive(Debug, Default)]
struct ListensOn;

#[async_trait]
impl Bug for ListensOn {
    async fn close(&self, _: &Served, _: Duration) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug, Default)]
struct DoesNotWait;

#[async_trait]
impl Bug for DoesNotWait {
    async fn close(&self, good: &Served, within: Duration) -> Result<()> {
        poll_immediate(good.close(within)).await.unwrap_or(Ok(()))
    }
}

#[derive(Debug, Default)]
struct CutsEarly;

#[async_trait]
impl Bug for CutsEarly {
    async fn close(&self, good: &Served, within: Duration) -> Result<()> {
        good.close(within / 2).await
    }
}

#[derive(Debug, Default)]
struct NeverCuts;

#[async_trait]
impl Bug for NeverCuts {
    async fn close(&self, good: &Served, _: Duration) -> Result<()> {
        good.close(Duration::MAX).await
    }
}

#[derive(Debug, Default)]
struct TellsNoCut;

#[async_trait]
impl Bug for TellsNoCut {
    async fn close(&self, good: &Served, within: Duration) -> Result<()> {
        match good.close(within).await {
            Err(error) if error.kind() == ErrorKind::TimedOut => Ok(()),
            result => result,
        }
    }
}

#[derive(Debug, Default)]
struct ClosesOnce {
    closed: AtomicBool,
}

#[async_trait]
impl Bug for ClosesOnce {
    async fn close(&self, good: &Served, within: Duration) -> Result<()> {
        if self.closed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        good.close(within).await
    }
}

#[derive(Debug, Default)]
struct ForgetsClose;

#[async_trait]
impl Bug for ForgetsClose {
    async fn serve(
        &self,
        good: &Arc<dyn HttpServer>,
        address: SocketAddr,
        handler: Arc<dyn HttpService>,
    ) -> Result<Served> {
        let good = good.serve(address, handler).await?;
        Ok(Arc::new(CutByItsFuture { address: good.local_addr(), good: Mutex::new(Some(good)) }))
    }
}

/// Keeps the time of a close in its future, which lets go of the good handle at the end; dropping that one cuts.
#[derive(Debug)]
struct CutByItsFuture {
    address: SocketAddr,
    good: Mutex<Option<Served>>,
}

impl CutByItsFuture {
    fn good(&self) -> MutexGuard<'_, Option<Served>> {
        self.good.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[deny(clippy::missing_trait_methods)]
impl HttpServing for CutByItsFuture {
    fn local_addr(&self) -> SocketAddr {
        self.address
    }

    fn in_flight(&self) -> u64 {
        self.good().as_ref().map_or(0, |good| good.in_flight())
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Lifecycle for CutByItsFuture {
    async fn health(&self) -> Health {
        let good = self.good().clone();
        match good {
            Some(good) => good.health().await,
            None => Health::Unhealthy("closed".to_owned()),
        }
    }

    async fn close(&self, within: Duration) -> Result<()> {
        let Some(good) = self.good().clone() else { return Ok(()) };
        let ended = tokio::select! {
            ended = good.close(Duration::MAX) => ended,
            () = tokio::time::sleep(within) => Err(Error::new(ErrorKind::TimedOut, "http_server.close", "cut")),
        };
        self.good().take();
        ended
    }
}

#[derive(Debug, Default)]
struct StaysHealthy;

impl Bug for StaysHealthy {
    fn health(_: Health) -> Health {
        Health::Healthy
    }
}

#[derive(Debug, Default)]
struct ServesOn;

#[async_trait]
impl Bug for ServesOn {
    async fn close_server(&self, _: &Arc<dyn HttpServer>, _: Duration) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug, Default)]
struct LeavesOpen {
    closed: AtomicBool,
}

#[async_trait]
impl Bug for LeavesOpen {
    async fn serve(
        &self,
        good: &Arc<dyn HttpServer>,
        address: SocketAddr,
        handler: Arc<dyn HttpService>,
    ) -> Result<Served> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(Error::closed("http_server.serve", "the server"));
        }
        good.serve(address, handler).await
    }

    async fn close_server(&self, _: &Arc<dyn HttpServer>, _: Duration) -> Result<()> {
        self.closed.store(true, Ordering::SeqCst);
        Ok(())
    }
}

#[derive(Debug, Default)]
struct KeepsHandles {
    handles: Mutex<Vec<Served>>,
}

#[async_trait]
impl Bug for KeepsHandles {
    async fn serve(
        &self,
        good: &Arc<dyn HttpServer>,
        address: SocketAddr,
        handler: Arc<dyn HttpService>,
    ) -> Result<Served> {
        let serving = good.serve(address, handler).await?;
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).push(serving.clone());
        Ok(serving)
    }

    fn server_dropped(&self) {
        // Each handle holds its handler, and that one this bug.
        drop(std::mem::take(&mut *self.handles.lock().unwrap_or_else(PoisonError::into_inner)));
    }
}
