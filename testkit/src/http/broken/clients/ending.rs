//! Bugs about ends: what lives on after a drop, what a close does and tells.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::future::poll_immediate;
use onex_spi::http::{HttpClient, HttpRequest, HttpResponse};
use onex_spi::{Effect, Error, ErrorKind, Health, Result};

use super::wrapper::{Bug, add};
use crate::broken::Broken;
use crate::http::broken::ending::read_on_after_a_drop;
use crate::http::client::HttpClientFactory;

pub(super) const BUGS: &[Broken<HttpClientFactory>] = &[
    Broken::new(
        "goes_on_after_a_drop",
        "HTTP-24",
        &["http_client.cancel_safety", "http_client.breaker_cancelled", "http_client.metrics_add_up"],
        add::<GoesOn>,
    ),
    Broken::new("reads_on_after_a_drop", "HTTP-24", &["http_client.cancel_body"], add::<ReadsOn>),
    Broken::new(
        "serves_after_close",
        "HTTP-41",
        &[
            "http_client.close_then_closed",
            "http_client.close_drains",
            "http_client.close_cuts",
            "http_client.close_dropped",
            "http_client.errors_hide_secrets",
        ],
        add::<ServesOn>,
    ),
    Broken::new(
        "closes_without_waiting",
        "HTTP-41",
        &["http_client.close_drains", "http_client.close_cuts", "http_client.close_dropped"],
        add::<DoesNotWait>,
    ),
    Broken::new(
        "cuts_before_its_time",
        "HTTP-41",
        &["http_client.close_cuts", "http_client.close_dropped"],
        add::<CutsEarly>,
    ),
    Broken::new(
        "never_cuts",
        "HTTP-41",
        &["http_client.close_cuts", "http_client.close_dropped"],
        add::<NeverCuts>,
    ),
    Broken::new("tells_no_cut", "HTTP-41", &["http_client.close_cuts"], add::<TellsNoCut>),
    Broken::new("closing_again_does_not_wait", "HTTP-41", &["http_client.close_dropped"], add::<ClosesOnce>),
    Broken::new("forgets_a_dropped_close", "HTTP-41", &["http_client.close_dropped"], add::<ForgetsClose>),
    Broken::new("is_closed_and_healthy", "HTTP-41", &["http_client.close_then_closed"], add::<StaysHealthy>),
    Broken::new(
        "misnames_a_closed_client",
        "HTTP-41",
        &["http_client.close_then_closed", "http_client.close_drains"],
        add::<MisnamesClosed>,
    ),
];

#[derive(Debug, Default)]
struct GoesOn;

#[async_trait]
impl Bug for GoesOn {
    async fn request(&self, good: &Arc<dyn HttpClient>, request: HttpRequest) -> Result<HttpResponse> {
        let it = good.clone();
        // A dropped handle leaves its task running.
        let call = tokio::spawn(async move { it.request(request).await });
        call.await.unwrap_or_else(|error| {
            Err(Error::new(ErrorKind::Unclassified, "http.request", error.to_string()))
        })
    }
}

#[derive(Debug, Default)]
struct ReadsOn;

impl Bug for ReadsOn {
    fn result(&self, result: Result<HttpResponse>) -> Result<HttpResponse> {
        result.map(read_on_after_a_drop)
    }
}

#[derive(Debug, Default)]
struct ServesOn;

#[async_trait]
impl Bug for ServesOn {
    async fn close(&self, _: &Arc<dyn HttpClient>, _: Duration) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug, Default)]
struct DoesNotWait;

#[async_trait]
impl Bug for DoesNotWait {
    async fn close(&self, good: &Arc<dyn HttpClient>, within: Duration) -> Result<()> {
        poll_immediate(good.close(within)).await.unwrap_or(Ok(()))
    }
}

#[derive(Debug, Default)]
struct CutsEarly;

#[async_trait]
impl Bug for CutsEarly {
    async fn close(&self, good: &Arc<dyn HttpClient>, within: Duration) -> Result<()> {
        good.close(within / 2).await
    }
}

#[derive(Debug, Default)]
struct NeverCuts;

#[async_trait]
impl Bug for NeverCuts {
    async fn close(&self, good: &Arc<dyn HttpClient>, _: Duration) -> Result<()> {
        good.close(Duration::MAX).await
    }
}

#[derive(Debug, Default)]
struct TellsNoCut;

#[async_trait]
impl Bug for TellsNoCut {
    async fn close(&self, good: &Arc<dyn HttpClient>, within: Duration) -> Result<()> {
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
    async fn close(&self, good: &Arc<dyn HttpClient>, within: Duration) -> Result<()> {
        if self.closed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        good.close(within).await
    }
}

/// Keeps the time of a close in its future: the good client is closed when that has come to its end.
#[derive(Debug, Default)]
struct ForgetsClose {
    closed: AtomicBool,
}

#[async_trait]
impl Bug for ForgetsClose {
    async fn request(&self, good: &Arc<dyn HttpClient>, request: HttpRequest) -> Result<HttpResponse> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(Error::closed("http.request", "the client"));
        }
        good.request(request).await
    }

    async fn close(&self, good: &Arc<dyn HttpClient>, within: Duration) -> Result<()> {
        self.closed.store(true, Ordering::SeqCst);
        let begin = Instant::now();
        // There is no event for "the last call ended".
        while good.client_metrics().in_flight > 0 && begin.elapsed() < within {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        good.close(within.saturating_sub(begin.elapsed())).await
    }
}

#[derive(Debug, Default)]
struct StaysHealthy;

#[async_trait]
impl Bug for StaysHealthy {
    async fn health(&self, _: &Arc<dyn HttpClient>) -> Health {
        Health::Healthy
    }
}

#[derive(Debug, Default)]
struct MisnamesClosed;

impl Bug for MisnamesClosed {
    fn result(&self, result: Result<HttpResponse>) -> Result<HttpResponse> {
        match result {
            Err(error) if error.kind() == ErrorKind::Closed && error.effect() == Effect::NotApplied => {
                Err(Error::new(ErrorKind::Unavailable, "http.request", "come back later").not_applied())
            }
            result => result,
        }
    }
}
