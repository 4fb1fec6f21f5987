//! What a wire does to the two heads: headers of the framing, and refusals of those that would break it.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode, Uri, Version};
use http_body::Body;
use onex_spi::http::{HttpBody, HttpPeer, HttpReason, HttpRequest, HttpResponse, HttpUrl, RequestParts};
use onex_spi::{Error, ErrorKind, Result};

use super::body::{Sent, SentBody};

/// Makes of a caller's request what a handler sees, and the record of how its body fared.
pub(super) fn incoming(request: HttpRequest) -> Result<(HttpRequest, Option<Arc<Sent>>)> {
    let mut parts = request.into_parts();
    parts.frame()?;
    let RequestParts { method, url, mut headers, body, .. } = parts;
    let length = body.size_hint().exact();
    if let Some(length) = length.filter(|length| *length > 0 && !headers.contains_key(TRANSFER_ENCODING)) {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    let url = match headers.get(HOST) {
        Some(host) => at_host(url, host)?,
        None => {
            headers.insert(HOST, host_of(&url)?);
            url
        }
    };

    let mut seen = HttpRequest::new(method, url);
    seen.headers = headers;
    let sent = if body.as_bytes().is_some() {
        seen.body = body;
        None
    } else {
        let sent = Arc::new(Sent::default());
        seen.body = HttpBody::new(SentBody::new(body, length, sent.clone()));
        Some(sent)
    };
    Ok((seen, sent))
}

/// Tells the handler who asks.
pub(super) fn from_peer(request: &mut HttpRequest, peer: SocketAddr) {
    request.extensions.insert(HttpPeer::new(peer));
}

/// Makes of a handler's response what the caller sees; the number is the length that the body must have.
pub(super) fn outgoing(
    mut response: HttpResponse,
    method: &Method,
    url: HttpUrl,
) -> Result<(HttpResponse, Option<u64>)> {
    if response.status.is_informational() {
        let message = format!("the handler ended with {}, which is no final status", response.status);
        return Err(protocol(message));
    }
    let announced = content_length(&response.headers)
        .map_err(|()| protocol("the response has more than one Content-Length".to_owned()))?;
    let known = response.body.size_hint().exact();
    let without_body =
        response.status == StatusCode::NO_CONTENT || response.status == StatusCode::NOT_MODIFIED;
    if without_body || method == Method::HEAD {
        // HTTP-6: the headers speak of the body that there would have been.
        let told = known.filter(|length| *length > 0 && announced.is_none() && !without_body);
        if let Some(length) = told {
            response.headers.insert(CONTENT_LENGTH, length.into());
        }
        response.body = HttpBody::EMPTY;
    } else if announced.is_none() && !response.headers.contains_key(TRANSFER_ENCODING) {
        match known {
            Some(length) => response.headers.insert(CONTENT_LENGTH, length.into()),
            None => response.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked")),
        };
    }
    let must_have = announced.or(known).filter(|_| !without_body && method != Method::HEAD);
    response.version = Version::HTTP_11;
    response.url = Some(url);
    response.extensions.clear();
    Ok((response, must_have))
}

/// The one number that all `Content-Length` say (RFC 9110 §8.6).
fn content_length(headers: &HeaderMap) -> std::result::Result<Option<u64>, ()> {
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        for part in value.to_str().map_err(|_| ())?.split(',') {
            let part = part.trim();
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            let number = part.parse::<u64>().ok().filter(|_| digits).ok_or(())?;
            if length.is_some_and(|length| length != number) {
                return Err(());
            }
            length = Some(number);
        }
    }
    Ok(length)
}

fn host_of(url: &HttpUrl) -> Result<HeaderValue> {
    let host = match url.uri().port() {
        Some(port) => HeaderValue::try_from(format!("{}:{port}", url.host())),
        None => HeaderValue::from_str(url.host()),
    };
    host.map_err(|error| bad("the URL's host cannot be a Host header").with_source(error))
}

/// The URL as a server builds it: its authority is what `Host` says.
fn at_host(url: HttpUrl, host: &HeaderValue) -> Result<HttpUrl> {
    if url.uri().authority().is_some_and(|authority| authority.as_str().as_bytes() == host.as_bytes()) {
        return Ok(url);
    }
    let mut parts = url.uri().clone().into_parts();
    parts.authority =
        Some(host.as_bytes().try_into().map_err(|error| bad("Host is no authority").with_source(error))?);
    let uri = Uri::from_parts(parts).map_err(|error| bad("Host is no authority").with_source(error))?;
    HttpUrl::from_uri(uri)
}

fn bad(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::invalid("http.exchange", message).with_detail(HttpReason::InvalidHeader)
}

fn protocol(message: String) -> Error {
    Error::new(ErrorKind::Corrupt, "http.exchange", message).with_detail(HttpReason::Protocol)
}
