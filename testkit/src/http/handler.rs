//! Handlers and bodies made of closures, streams and gates.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use http_body::{Body, Frame};
use onex_spi::http::{HttpBody, HttpReason, HttpRequest, HttpResponse, HttpService};
use onex_spi::{Error, ErrorKind, Result};

use crate::net::Gate;

/// Makes a service of a closure.
///
/// # Examples
/// ```
/// use http::StatusCode;
/// use onex_spi::http::HttpResponse;
/// use onex_testkit::http::handler;
///
/// let hello = handler(|_request| async { Ok(HttpResponse::new(StatusCode::OK, "hello")) });
/// ```
pub fn handler<F, Fut>(answer: F) -> Arc<dyn HttpService>
where
    F: Fn(HttpRequest) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<HttpResponse>> + Send + 'static,
{
    Arc::new(Handler(answer))
}

struct Handler<F>(F);

#[async_trait]
impl<F, Fut> HttpService for Handler<F>
where
    F: Fn(HttpRequest) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<HttpResponse>> + Send + 'static,
{
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse> {
        (self.0)(request).await
    }
}

impl<F> fmt::Debug for Handler<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("handler")
    }
}

/// Makes a one-shot body of unknown length from a stream of frames.
pub fn streamed(frames: impl Stream<Item = Result<Frame<Bytes>>> + Send + 'static) -> HttpBody {
    struct Streamed(Pin<Box<dyn Stream<Item = Result<Frame<Bytes>>> + Send>>);
    impl Body for Streamed {
        type Data = Bytes;
        type Error = Error;
        fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
            self.0.as_mut().poll_next(cx)
        }
    }
    HttpBody::new(Streamed(Box::pin(frames)))
}

/// A frame of text.
pub(crate) fn data(text: &'static str) -> Result<Frame<Bytes>> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

/// Opens its gate when it is dropped: tells that a handler or body is gone.
pub(crate) struct Gone(pub(crate) Gate);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// Sends each request to the service of its authority: the network of engines that have no wire.
#[derive(Debug, Default)]
pub(crate) struct Switchboard(Mutex<BTreeMap<String, Arc<dyn HttpService>>>);

impl Switchboard {
    pub(crate) fn mount(&self, authority: &str, service: Arc<dyn HttpService>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(authority.to_owned(), service);
    }

    fn find(&self, authority: &str) -> Result<Arc<dyn HttpService>> {
        let mounted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        mounted.get(authority).cloned().ok_or_else(|| {
            let known: Vec<&str> = mounted.keys().map(String::as_str).collect();
            let message = format!("nothing is mounted at {authority}; there is {}", known.join(", "));
            Error::new(ErrorKind::NotFound, "http.exchange", message)
                .not_applied()
                .with_detail(HttpReason::UnmatchedRoute)
        })
    }
}

#[async_trait]
impl HttpService for Switchboard {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse> {
        let authority = request.url.uri().authority().map_or("", |authority| authority.as_str());
        self.find(authority)?.exchange(request).await
    }
}
