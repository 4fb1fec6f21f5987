//! Bugs about ends: what lives on after a drop, what is answered after a close.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ::http::Method;
use async_trait::async_trait;
use bytes::Bytes;
use http_body::{Body, Frame};
use onex_spi::http::{HttpBody, HttpRequest, HttpResponse, HttpTransport};
use onex_spi::{Effect, Error, ErrorKind, Health, Result};

use super::wrapper::{Bug, add};
use crate::broken::Broken;

pub(super) const BUGS: &[Broken<dyn HttpTransport>] = &[
    Broken::new("goes_on_after_a_drop", "HTTP-24", &["http.cancel_safety"], add::<GoesOn>),
    Broken::new("reads_on_after_a_drop", "HTTP-24", &["http.cancel_body"], add::<ReadsOn>),
    Broken::new(
        "serves_after_close",
        "HTTP-41",
        &["http.close_then_closed", "http.close_drains", "http.close_cuts", "http.close_dropped"],
        add::<ServesOn>,
    ),
    Broken::new("tells_no_cut", "HTTP-41", &["http.close_cuts"], add::<TellsNoCut>),
    Broken::new("never_cuts", "HTTP-41", &["http.close_cuts", "http.close_dropped"], add::<NeverCuts>),
    Broken::new("closing_again_does_not_wait", "HTTP-41", &["http.close_dropped"], add::<ClosesOnce>),
    Broken::new("forgets_a_dropped_close", "HTTP-41", &["http.close_dropped"], add::<ForgetsClose>),
    Broken::new("is_closed_and_healthy", "HTTP-41", &["http.close_then_closed"], add::<StaysHealthy>),
    Broken::new(
        "misnames_a_closed_engine",
        "HTTP-41",
        &["http.close_then_closed", "http.close_drains"],
        add::<MisnamesClosed>,
    ),
];

#[derive(Debug, Default)]
struct GoesOn;

#[async_trait]
impl Bug for GoesOn {
    async fn exchange(&self, good: &Arc<dyn HttpTransport>, request: HttpRequest) -> Result<HttpResponse> {
        let it = good.clone();
        // A dropped handle leaves its task running.
        let call = tokio::spawn(async move { it.exchange(request).await });
        call.await.unwrap_or_else(|error| {
            Err(Error::new(ErrorKind::Unclassified, "http.exchange", error.to_string()))
        })
    }
}

#[derive(Debug, Default)]
struct ReadsOn;

impl Bug for ReadsOn {
    fn result(_: &Method, result: Result<HttpResponse>) -> Result<HttpResponse> {
        result.map(read_on_after_a_drop)
    }
}

/// Whoever drops the body of `response` leaves a task that reads the rest.
pub(super) fn read_on_after_a_drop(mut response: HttpResponse) -> HttpResponse {
    if response.body.as_bytes().is_none() {
        let inner = std::mem::take(&mut response.body);
        response.body = HttpBody::new(Drained(Some(inner)));
    }
    response
}

/// Is read to its end behind the back of whoever dropped it.
struct Drained(Option<HttpBody>);

impl Body for Drained {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let Some(inner) = &mut self.0 else { return Poll::Ready(None) };
        let frame = std::task::ready!(Pin::new(inner).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.0 = None;
        }
        Poll::Ready(frame)
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        if let Some(mut inner) = self.0.take() {
            tokio::spawn(async move { while inner.frame().await.is_some_and(|frame| frame.is_ok()) {} });
        }
    }
}

#[derive(Debug, Default)]
struct ServesOn;

#[async_trait]
impl Bug for ServesOn {
    async fn close(&self, _: &Arc<dyn HttpTransport>, _: Duration) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug, Default)]
struct TellsNoCut;

#[async_trait]
impl Bug for TellsNoCut {
    async fn close(&self, good: &Arc<dyn HttpTransport>, within: Duration) -> Result<()> {
        match good.close(within).await {
            Err(error) if error.kind() == ErrorKind::TimedOut => Ok(()),
            result => result,
        }
    }
}

#[derive(Debug, Default)]
struct NeverCuts;

#[async_trait]
impl Bug for NeverCuts {
    async fn close(&self, good: &Arc<dyn HttpTransport>, _: Duration) -> Result<()> {
        good.close(Duration::MAX).await
    }
}

#[derive(Debug, Default)]
struct ClosesOnce {
    closed: AtomicBool,
}

#[async_trait]
impl Bug for ClosesOnce {
    async fn close(&self, good: &Arc<dyn HttpTransport>, within: Duration) -> Result<()> {
        if self.closed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        good.close(within).await
    }
}

/// Keeps the time of a close in its future: the good transport is closed when that has come to its end.
#[derive(Debug, Default)]
struct ForgetsClose {
    closed: AtomicBool,
    running: AtomicUsize,
}

struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Bug for ForgetsClose {
    async fn exchange(&self, good: &Arc<dyn HttpTransport>, request: HttpRequest) -> Result<HttpResponse> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(Error::closed("http.exchange", "the transport"));
        }
        self.running.fetch_add(1, Ordering::SeqCst);
        let _running = Running(&self.running);
        good.exchange(request).await
    }

    async fn close(&self, good: &Arc<dyn HttpTransport>, within: Duration) -> Result<()> {
        self.closed.store(true, Ordering::SeqCst);
        let begin = Instant::now();
        while self.running.load(Ordering::SeqCst) > 0 && begin.elapsed() < within {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        good.close(within.saturating_sub(begin.elapsed())).await
    }
}

#[derive(Debug, Default)]
struct StaysHealthy;

#[async_trait]
impl Bug for StaysHealthy {
    async fn health(_: &Arc<dyn HttpTransport>) -> Health {
        Health::Healthy
    }
}

#[derive(Debug, Default)]
struct MisnamesClosed;

impl Bug for MisnamesClosed {
    fn result(_: &Method, result: Result<HttpResponse>) -> Result<HttpResponse> {
        match result {
            Err(error) if error.kind() == ErrorKind::Closed && error.effect() == Effect::NotApplied => {
                Err(Error::new(ErrorKind::Unavailable, "http.exchange", "come back later").not_applied())
            }
            result => result,
        }
    }
}
