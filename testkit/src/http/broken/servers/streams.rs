//! Bugs on the wire: connections, streamed bodies, clients that leave, handlers that panic.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::http::StatusCode;
use ::http::header::{CONNECTION, EXPECT, HeaderValue};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use http_body::{Body, Frame};
use onex_spi::http::{HttpBody, HttpRequest, HttpResponse, HttpServer, HttpService};
use onex_spi::{Error, ErrorKind, Result};

use tokio::task::AbortHandle;

use super::wrapper::{Bug, Served, add};
use crate::broken::Broken;

pub(super) const BUGS: &[Broken<dyn HttpServer>] = &[
    Broken::new("closes_after_each_answer", "HTTP", &["http_server.keep_alive"], add::<ClosesEach>),
    Broken::new(
        "loses_every_second_part_of_a_request",
        "HTTP",
        &["http_server.byte_by_byte", "http_server.round_trip", "http_server.streams_both_ways"],
        add::<LosesParts>,
    ),
    Broken::new(
        "loses_the_tail_of_a_stream",
        "HTTP",
        &["http_server.streams_both_ways", "http_server.trailers"],
        add::<LosesTail>,
    ),
    Broken::new(
        "loses_the_trailers_of_a_request",
        "HTTP-9",
        &["http_server.trailers"],
        add::<LosesRequestTrailers>,
    ),
    Broken::new(
        "loses_the_trailers_of_a_response",
        "HTTP-9",
        &["http_server.trailers"],
        add::<LosesResponseTrailers>,
    ),
    Broken::new(
        "takes_a_cut_request_for_whole",
        "HTTP-7",
        &["http_server.short_request_body"],
        add::<TakesCutRequest>,
    ),
    Broken::new(
        "takes_a_failing_answer_for_whole",
        "HTTP-7",
        &["http_server.failing_response_body"],
        add::<TakesFailingAnswer>,
    ),
    Broken::new(
        "asks_for_the_body_before_the_handler",
        "HTTP-12",
        &["http_server.expect_continue"],
        add::<AsksFirst>,
    ),
    Broken::new(
        "goes_on_without_its_client",
        "HTTP-24",
        &["http_server.client_leaves", "http_server.drop_cuts"],
        add::<GoesOn>,
    ),
    Broken::new("is_silent_after_a_panic", "HTTP", &["http_server.handler_panics"], add::<SilentPanic>),
    Broken::new("answers_a_panic_with_200", "HTTP", &["http_server.handler_panics"], add::<HappyPanic>),
    Broken::new("is_poisoned_by_a_panic", "HTTP", &["http_server.handler_panics"], add::<Poisoned>),
];

#[derive(Debug, Default)]
struct ClosesEach;

impl Bug for ClosesEach {
    fn result(result: Result<HttpResponse>) -> Result<HttpResponse> {
        result.map(|mut response| {
            response.headers.insert(CONNECTION, HeaderValue::from_static("close"));
            response
        })
    }
}

type Item = Option<Result<Frame<Bytes>>>;

/// A body whose frames pass through `change`, which may hold one back.
struct Changed<F> {
    inner: HttpBody,
    /// `None` = the frame is not handed out.
    change: F,
}

/// Changes a body that is still arriving.
fn changed<F>(body: &mut HttpBody, change: F)
where
    F: FnMut(Item) -> Option<Item> + Unpin + Send + 'static,
{
    if body.as_bytes().is_none() {
        let inner = std::mem::take(body);
        *body = HttpBody::new(Changed { inner, change });
    }
}

impl<F: FnMut(Item) -> Option<Item> + Unpin> Body for Changed<F> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Item> {
        loop {
            let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
            if let Some(item) = (self.change)(frame) {
                return Poll::Ready(item);
            }
        }
    }
}

#[derive(Debug, Default)]
struct LosesParts;

impl Bug for LosesParts {
    fn request(mut request: HttpRequest) -> HttpRequest {
        let mut number = 0;
        changed(&mut request.body, move |item| {
            let is_data = matches!(&item, Some(Ok(frame)) if frame.is_data());
            number += usize::from(is_data);
            if is_data && number % 2 == 0 { None } else { Some(item) }
        });
        request
    }
}

#[derive(Debug, Default)]
struct LosesTail;

impl Bug for LosesTail {
    fn result(result: Result<HttpResponse>) -> Result<HttpResponse> {
        result.map(|mut response| {
            let mut held = None;
            changed(&mut response.body, move |item| match item {
                // Each part waits for the next one; the last one waits for ever.
                Some(Ok(frame)) if frame.is_data() => held.replace(frame).map(|before| Some(Ok(before))),
                end => Some(end),
            });
            response
        })
    }
}

fn without_trailers(item: Item) -> Option<Item> {
    Some(item.filter(|frame| !frame.as_ref().is_ok_and(Frame::is_trailers)))
}

#[derive(Debug, Default)]
struct LosesRequestTrailers;

impl Bug for LosesRequestTrailers {
    fn request(mut request: HttpRequest) -> HttpRequest {
        changed(&mut request.body, without_trailers);
        request
    }
}

#[derive(Debug, Default)]
struct LosesResponseTrailers;

impl Bug for LosesResponseTrailers {
    fn result(result: Result<HttpResponse>) -> Result<HttpResponse> {
        result.map(|mut response| {
            changed(&mut response.body, without_trailers);
            response
        })
    }
}

#[derive(Debug, Default)]
struct TakesCutRequest;

impl Bug for TakesCutRequest {
    fn request(mut request: HttpRequest) -> HttpRequest {
        changed(&mut request.body, |item| Some(item.filter(Result::is_ok)));
        request
    }
}

#[derive(Debug, Default)]
struct TakesFailingAnswer;

impl Bug for TakesFailingAnswer {
    fn result(result: Result<HttpResponse>) -> Result<HttpResponse> {
        result.map(|mut response| {
            changed(&mut response.body, |item| Some(item.filter(Result::is_ok)));
            response
        })
    }
}

#[derive(Debug, Default)]
struct AsksFirst;

#[async_trait]
impl Bug for AsksFirst {
    async fn exchange(
        &self,
        handler: &Arc<dyn HttpService>,
        mut request: HttpRequest,
    ) -> Result<HttpResponse> {
        if request.headers.contains_key(EXPECT) {
            request.body = std::mem::take(&mut request.body).bytes(usize::MAX).await?.into();
        }
        handler.exchange(request).await
    }
}

/// Runs handlers as tasks that only a close ends.
#[derive(Debug, Default)]
struct GoesOn {
    tasks: Mutex<Vec<AbortHandle>>,
}

#[async_trait]
impl Bug for GoesOn {
    async fn exchange(&self, handler: &Arc<dyn HttpService>, request: HttpRequest) -> Result<HttpResponse> {
        let handler = handler.clone();
        let call = tokio::spawn(async move { handler.exchange(request).await });
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(call.abort_handle());
        match call.await {
            Ok(result) => result,
            Err(ended) => match ended.try_into_panic() {
                Ok(payload) => std::panic::resume_unwind(payload),
                Err(ended) => Err(Error::new(ErrorKind::Closed, "http_server.exchange", ended.to_string())),
            },
        }
    }

    async fn close(&self, good: &Served, within: Duration) -> Result<()> {
        let closed = good.close(within).await;
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.iter().for_each(AbortHandle::abort);
        closed
    }
}

/// What the handler came to; `None` where it panicked.
async fn caught(handler: &Arc<dyn HttpService>, request: HttpRequest) -> Option<Result<HttpResponse>> {
    AssertUnwindSafe(handler.exchange(request)).catch_unwind().await.ok()
}

#[derive(Debug, Default)]
struct SilentPanic;

#[async_trait]
impl Bug for SilentPanic {
    async fn exchange(&self, handler: &Arc<dyn HttpService>, request: HttpRequest) -> Result<HttpResponse> {
        match caught(handler, request).await {
            Some(result) => result,
            None => std::future::pending().await,
        }
    }
}

#[derive(Debug, Default)]
struct HappyPanic;

#[async_trait]
impl Bug for HappyPanic {
    async fn exchange(&self, handler: &Arc<dyn HttpService>, request: HttpRequest) -> Result<HttpResponse> {
        caught(handler, request).await.unwrap_or_else(|| Ok(HttpResponse::new(StatusCode::OK, "")))
    }
}

#[derive(Debug, Default)]
struct Poisoned {
    poisoned: AtomicBool,
}

#[async_trait]
impl Bug for Poisoned {
    async fn exchange(&self, handler: &Arc<dyn HttpService>, request: HttpRequest) -> Result<HttpResponse> {
        let answered = match self.poisoned.load(Ordering::SeqCst) {
            true => None,
            false => caught(handler, request).await,
        };
        answered.unwrap_or_else(|| {
            self.poisoned.store(true, Ordering::SeqCst);
            Err(Error::new(ErrorKind::Unclassified, "http_server.exchange", "poisoned"))
        })
    }
}
