//! One exchange: hyper's request to ours, our response to hyper's, and what goes wrong between them.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use onex_spi::http::{HttpBody, HttpPeer, HttpRequest, HttpResponse, HttpService, HttpUrl};
use onex_spi::{Error, Result};

use crate::error;
use crate::serving::InFlight;

/// Where a connection stands between.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
}

/// Answers one request; every failure of the handler is an answer too.
pub(crate) async fn answer(
    service: &dyn HttpService,
    ends: Ends,
    request: Request<Incoming>,
    running: InFlight,
) -> Response<Outgoing> {
    let head_only = request.method() == Method::HEAD;
    let request = match to_ours(request, ends) {
        Ok(request) => request,
        Err(status) => return empty(status, running),
    };
    let result = match Caught::new(|| service.exchange(request)) {
        Ok(call) => call.await,
        Err(panicked) => Err(panicked),
    };
    match result {
        Ok(Ok(response)) => to_hyper(response, head_only, running),
        Ok(Err(error)) => {
            tracing::error!(%error, "the handler failed");
            empty(StatusCode::INTERNAL_SERVER_ERROR, running)
        }
        Err(Panicked) => {
            tracing::error!("the handler panicked");
            let mut response = empty(StatusCode::INTERNAL_SERVER_ERROR, running);
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            response
        }
    }
}

fn to_ours(request: Request<Incoming>, ends: Ends) -> Result<HttpRequest, StatusCode> {
    let (parts, body) = request.into_parts();
    if parts.method == Method::CONNECT {
        return Err(StatusCode::NOT_IMPLEMENTED);
    }
    let url = url(parts.uri, &parts.headers, parts.version, ends.local)?;
    let mut request = HttpRequest::new(parts.method, url);
    request.headers = parts.headers;
    request.version = parts.version;
    request.extensions = parts.extensions;
    request.extensions.insert(HttpPeer::new(ends.remote));
    if !body.is_end_stream() {
        request.body = HttpBody::new(Received { incoming: body, received: 0 });
    }
    Ok(request)
}

/// The absolute URL: of an absolute target as it is, else of `Host` (RFC 9112 §3.2), else, for HTTP/1.0, of the
/// address that was dialled.
fn url(target: Uri, headers: &HeaderMap, version: Version, local: SocketAddr) -> Result<HttpUrl, StatusCode> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => Some(authority(host)?),
        (None, None) if version == Version::HTTP_10 => None,
        _ => return Err(StatusCode::BAD_REQUEST),
    };
    let mut parts = target.into_parts();
    if parts.authority.is_none() {
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(match host {
            Some(host) => host,
            None => Authority::try_from(local.to_string()).map_err(|_| StatusCode::BAD_REQUEST)?,
        });
    }
    parts.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
    let uri = Uri::from_parts(parts).map_err(|_| StatusCode::BAD_REQUEST)?;
    HttpUrl::from_uri(uri).map_err(|_| StatusCode::BAD_REQUEST)
}

fn authority(host: &HeaderValue) -> Result<Authority, StatusCode> {
    let authority = Authority::try_from(host.as_bytes()).map_err(|_| StatusCode::BAD_REQUEST)?;
    if authority.as_str().contains('@') || authority.host().is_empty() {
        return Err(StatusCode::BAD_REQUEST);
    }
    Ok(authority)
}

fn to_hyper(response: HttpResponse, head_only: bool, running: InFlight) -> Response<Outgoing> {
    let mut parts = response.into_parts();
    let bodiless = head_only || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if parts.headers.contains_key(TRANSFER_ENCODING) {
        // Chunks win, as they do when they are read (RFC 9112 §6.3).
        parts.headers.remove(CONTENT_LENGTH);
    }
    if let Some(why) = fault(parts.status, &parts.headers, &parts.body, bodiless) {
        tracing::error!(status = parts.status.as_u16(), why, "the handler's response cannot be sent");
        return empty(StatusCode::INTERNAL_SERVER_ERROR, running);
    }
    let mut response = Response::new(Outgoing { body: parts.body, _running: running });
    *response.status_mut() = parts.status;
    *response.headers_mut() = parts.headers;
    response
}

/// What would make hyper break the framing, or refuse.
fn fault(status: StatusCode, headers: &HeaderMap, body: &HttpBody, bodiless: bool) -> Option<&'static str> {
    if status.is_informational() {
        return Some("an interim status is no answer");
    }
    if bodiless {
        return None;
    }
    let length = body.size_hint().exact();
    let mut said = headers.get_all(CONTENT_LENGTH).iter();
    let fits = |value: &HeaderValue| {
        let digits = value.as_bytes().iter().all(u8::is_ascii_digit);
        let said = value.to_str().ok().filter(|_| digits).and_then(|text| text.parse::<u64>().ok());
        said.is_some_and(|said| length.is_none_or(|length| length == said))
    };
    match (said.next(), said.next()) {
        (None, _) => None,
        (Some(value), None) if fits(value) => None,
        _ => Some("its content-length contradicts its body"),
    }
}

fn empty(status: StatusCode, running: InFlight) -> Response<Outgoing> {
    let mut response = Response::new(Outgoing { body: HttpBody::EMPTY, _running: running });
    *response.status_mut() = status;
    response
}

/// A request's body as it arrives.
struct Received {
    incoming: Incoming,
    received: u64,
}

impl Body for Received {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let Poll::Ready(polled) = Pin::new(&mut self.incoming).poll_frame(cx) else { return Poll::Pending };
        Poll::Ready(polled.map(|frame| match frame {
            Ok(frame) => {
                self.received += frame.data_ref().map_or(0, |data| data.len() as u64);
                Ok(frame)
            }
            Err(engine) => Err(error::body(engine, self.received)),
        }))
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// A response's body; the exchange runs until hyper has taken all of it, or dropped it.
pub(crate) struct Outgoing {
    body: HttpBody,
    _running: InFlight,
}

#[deny(clippy::missing_trait_methods)]
impl Body for Outgoing {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        pin!(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

struct Panicked;

/// A call whose panic is a value.
struct Caught<F>(F);

impl<F: Future + Unpin> Caught<F> {
    fn new(call: impl FnOnce() -> F) -> Result<Self, Panicked> {
        // Nothing of ours is left half changed: the request went in by value, the service is shared.
        catch_unwind(AssertUnwindSafe(call)).map(Self).map_err(|_| Panicked)
    }
}

impl<F: Future + Unpin> Future for Caught<F> {
    type Output = Result<F::Output, Panicked>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut self.0).poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(target: &str, hosts: &[&str], version: Version) -> Result<String, StatusCode> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, host.parse().expect("a value"));
        }
        let local = SocketAddr::from(([127, 0, 0, 1], 81));
        url(target.parse().expect("a target"), &headers, version, local).map(|url| url.uri().to_string())
    }

    #[test]
    fn the_url_is_made_of_target_and_host() {
        let good = |target, hosts: &[&str], version| made(target, hosts, version).expect("good");
        assert_eq!(good("/a?b", &["h:8080"], Version::HTTP_11), "http://h:8080/a?b");
        assert_eq!(good("/", &["[::1]:80"], Version::HTTP_11), "http://[::1]:80/");
        assert_eq!(good("http://other/a", &["h"], Version::HTTP_11), "http://other/a");
        assert_eq!(good("/a", &[], Version::HTTP_10), "http://127.0.0.1:81/a");
    }

    #[test]
    fn a_request_without_one_good_host_is_bad() {
        for hosts in [&[][..], &["a", "b"], &["u@h"], &["a b"], &[""], &["h/p"]] {
            assert_eq!(made("/", hosts, Version::HTTP_11), Err(StatusCode::BAD_REQUEST), "{hosts:?}");
        }
    }

    #[test]
    fn a_response_that_contradicts_itself_is_not_sent() {
        let fault_of = |status: u16, length: Option<&str>, body: &'static str, bodiless| {
            let mut headers = HeaderMap::new();
            if let Some(length) = length {
                headers.insert(CONTENT_LENGTH, length.parse().expect("a value"));
            }
            let status = StatusCode::from_u16(status).expect("a status");
            fault(status, &headers, &body.into(), bodiless).is_some()
        };
        assert!(!fault_of(200, Some("3"), "abc", false));
        assert!(!fault_of(200, None, "abc", false));
        assert!(fault_of(200, Some("4"), "abc", false));
        assert!(fault_of(200, Some("+3"), "abc", false));
        assert!(!fault_of(200, Some("1000"), "", true), "the answer to a HEAD tells what a GET would have");
        assert!(fault_of(103, None, "", false));
    }
}
