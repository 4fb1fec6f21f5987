//! The target: one request for each message, and one attempt for each request.
//!
//! Attempts are the bridge's to make: it counts them, waits between them and writes a dead letter after the last. A client of
//! [`HttpClient`] may have a retry policy of its own, which would multiply them; so each payload goes out as a one-shot body, which
//! no client ever sends twice (HTTP-42), whatever its policy says.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use http_body::{Body, Frame, SizeHint};
use onex_spi::bridge::{BridgeContext, BridgeFault, BridgeMessage, BridgeReason, BridgeTarget};
use onex_spi::http::{HttpBody, HttpClient, HttpReason, HttpRequest, HttpResponse, HttpUrl, retry_after};
use onex_spi::kafka::Header;
use onex_spi::{Clock, Error, ErrorKind, Gate, Health, Lifecycle, Result};

use super::HttpTargetConfig;
use super::headers::lost;
use crate::wire::{KEY, MESSAGE_ID, METADATA, write_key, write_metadata};

const DELIVER: &str = "bridge.deliver";

/// Messages that go out as requests.
#[derive(Debug)]
pub(super) struct HttpTarget {
    config: HttpTargetConfig,
    client: Arc<dyn HttpClient>,
    clock: Arc<dyn Clock>,
    gate: Gate,
}

impl HttpTarget {
    pub(super) async fn open(
        client: Arc<dyn HttpClient>,
        config: HttpTargetConfig,
        context: &BridgeContext,
    ) -> Result<Self> {
        let clock = context.clock.clone();
        let gate = Gate::new("the HTTP target", clock.clone());
        let target = Self { config, client, clock, gate };
        if target.config.probe {
            target.probe().await?;
        }
        Ok(target)
    }

    /// Asks whether anybody is there; what is answered does not matter.
    async fn probe(&self) -> Result<()> {
        let mut request = HttpRequest::new(Method::HEAD, self.config.url.clone());
        request.timeouts.total = Some(self.config.timeout);
        request.body = HttpBody::new(Once(None));
        match self.client.request(request).await {
            Err(error) if unreachable(&error) => {
                let message = format!(
                    "{} cannot be reached: {}; start it first, or write probe = false",
                    self.config.url,
                    error.message()
                );
                Err(Error::new(error.kind(), "bridge.target", message).not_applied().with_source(error))
            }
            _ => Ok(()),
        }
    }

    async fn deliver_one(&self, url: &HttpUrl, message: &BridgeMessage) -> Result<Option<BridgeMessage>> {
        let mut request = HttpRequest::new(self.config.method.clone(), url.clone());
        request.headers = self.config.headers.given(message)?;
        own_headers(&mut request.headers, message)?;
        request.body = HttpBody::new(Once(Some(message.payload.clone())));
        request.timeouts.total = Some(self.config.timeout);
        let response = self.client.request(request).await?;
        if !response.status.is_success() {
            return Err(self.refused(&response, url));
        }
        Ok(self.reply(message, response).await)
    }

    /// What the other side replied; the message is accepted by now, so a reply that cannot be read changes nothing.
    async fn reply(&self, message: &BridgeMessage, response: HttpResponse) -> Option<BridgeMessage> {
        let status = response.status;
        let mut headers = Vec::new();
        for name in [CONTENT_TYPE, CONTENT_ENCODING] {
            let value = response.headers.get(&name);
            headers.extend(value.map(|value| Header::new(name.as_str(), value.as_bytes().to_vec())));
        }
        match response.into_body().bytes(self.config.reply_bytes).await {
            Ok(body) if body.is_empty() => None,
            Ok(body) => {
                let mut reply = BridgeMessage::new(message.id, body).with_metadata("status", status.as_u16());
                reply.headers = headers;
                Some(reply)
            }
            Err(error) => {
                tracing::warn!(id = %message.id, %error, "the message is delivered, its reply could not be read");
                None
            }
        }
    }

    fn refused(&self, response: &HttpResponse, url: &HttpUrl) -> Error {
        let status = response.status;
        let (kind, certain) = kind_of(status);
        let way_out = match kind {
            ErrorKind::NotFound => "; name another route, or serve it there",
            ErrorKind::Unsupported => "; name the URL that answers by itself",
            _ => "",
        };
        let message = format!("{} {url} was answered with {status}{way_out}", self.config.method);
        let mut error = Error::new(kind, DELIVER, message);
        if certain {
            error = error.not_applied();
        }
        if kind == ErrorKind::NotFound {
            error = error.with_detail(BridgeFault::new(BridgeReason::MissingTarget));
        }
        match retry_after(&response.headers, self.clock.wall()) {
            Some(after) if error.is_retryable(true) => error.with_retry_after(after),
            _ => error,
        }
    }
}

/// What a status that is no success means, and whether the server certainly did nothing.
fn kind_of(status: StatusCode) -> (ErrorKind, bool) {
    match status.as_u16() {
        401 | 407 => (ErrorKind::Unauthenticated, true),
        403 => (ErrorKind::PermissionDenied, true),
        404 | 410 => (ErrorKind::NotFound, true),
        408 | 504 => (ErrorKind::TimedOut, false),
        413 => (ErrorKind::TooLarge, true),
        429 => (ErrorKind::ResourceExhausted, true),
        400..=499 => (ErrorKind::InvalidInput, false),
        500..=599 => (ErrorKind::Unavailable, false),
        _ => (ErrorKind::Unsupported, false),
    }
}

/// Adds what a message has beside its headers.
fn own_headers(headers: &mut HeaderMap, message: &BridgeMessage) -> Result<()> {
    let mut add = |name: &'static str, text: String| {
        let value = HeaderValue::from_str(&text)
            .map_err(|error| lost(format!("`{name}` cannot be written as a header")).with_source(error))?;
        headers.insert(HeaderName::from_static(name), value);
        Ok::<_, Error>(())
    };
    add(MESSAGE_ID, message.id.to_string())?;
    if let Some(key) = &message.key {
        add(KEY, write_key(key))?;
    }
    if !message.metadata.is_empty() {
        add(METADATA, write_metadata(&message.metadata)?)?;
    }
    Ok(())
}

fn unreachable(error: &Error) -> bool {
    let reason = error.http().map(|fault| fault.reason);
    matches!(reason, Some(HttpReason::Connect | HttpReason::Resolve))
        || matches!(error.kind(), ErrorKind::Closed | ErrorKind::Unsupported)
}

#[async_trait]
impl BridgeTarget for HttpTarget {
    fn check_route(&self, to: &str) -> Result<()> {
        self.config.url_of(to).map(drop)
    }

    fn address(&self, to: &str) -> String {
        let Ok(url) = self.config.url_of(to) else { return format!("http:{to}") };
        let host = if url.host().eq_ignore_ascii_case("localhost") { "127.0.0.1" } else { url.host() };
        format!("http:{host}:{}{}", url.port(), url.path())
    }

    async fn deliver(&self, to: &Arc<str>, messages: &[BridgeMessage]) -> Vec<Result<Option<BridgeMessage>>> {
        let all = |error: Error| messages.iter().map(|_| Err(error.clone())).collect();
        let mut inside = match self.gate.enter(DELIVER) {
            Ok(inside) => inside,
            Err(closed) => return all(closed),
        };
        let url = match self.config.url_of(to) {
            Ok(url) => url,
            Err(error) => return all(error),
        };
        let mut results = Vec::with_capacity(messages.len());
        let calls: Vec<_> = messages.iter().map(|message| self.deliver_one(&url, message)).collect();
        let mut answers = stream::iter(calls).buffered(self.config.concurrency);
        loop {
            let answer = tokio::select! {
                biased;
                answer = answers.next() => answer,
                () = inside.cut() => break,
            };
            match answer {
                Some(answer) => results.push(answer),
                None => return results,
            }
        }
        let cut = Error::new(ErrorKind::Closed, DELIVER, "the HTTP target was closed while it delivered");
        results.resize(messages.len(), Err(cut));
        results
    }
}

#[async_trait]
impl Lifecycle for HttpTarget {
    async fn health(&self) -> Health {
        if self.gate.is_closed() {
            return Health::Unhealthy("the HTTP target is closed".to_owned());
        }
        self.client.health().await
    }

    /// Ends this target; the client, which others may share, stays open for whoever made it to close.
    async fn close(&self, within: Duration) -> Result<()> {
        self.gate.close("bridge.target", within).await
    }
}

/// A body that can be sent once.
struct Once(Option<Bytes>);

#[deny(clippy::missing_trait_methods)]
impl Body for Once {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let bytes = self.0.take().filter(|bytes| !bytes.is_empty());
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, Bytes::len) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_says_whether_another_attempt_may_help() {
        for (status, kind, retryable) in [
            (301, ErrorKind::Unsupported, false),
            (400, ErrorKind::InvalidInput, false),
            (401, ErrorKind::Unauthenticated, false),
            (403, ErrorKind::PermissionDenied, false),
            (404, ErrorKind::NotFound, false),
            (408, ErrorKind::TimedOut, true),
            (410, ErrorKind::NotFound, false),
            (413, ErrorKind::TooLarge, false),
            (422, ErrorKind::InvalidInput, false),
            (429, ErrorKind::ResourceExhausted, true),
            (500, ErrorKind::Unavailable, true),
            (503, ErrorKind::Unavailable, true),
            (504, ErrorKind::TimedOut, true),
        ] {
            let (told, _) = kind_of(StatusCode::from_u16(status).expect("a status"));
            assert_eq!(
                (told, Error::new(told, DELIVER, "").is_retryable(true)),
                (kind, retryable),
                "{status}"
            );
        }
    }
}
