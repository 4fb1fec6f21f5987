//! From our request to reqwest's: refuse what would break the framing, add what the framing needs.

use std::borrow::Cow;

use http::header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Method};
use http_body::Body as _;
use onex_spi::http::{HttpReason, HttpUrl, RequestParts};
use onex_spi::{Error, Result};

/// Makes reqwest's request; what cannot be sent as it is meant is refused before anything is dialled.
pub(crate) fn to_reqwest(parts: RequestParts) -> Result<reqwest::Request> {
    let RequestParts { method, url, mut headers, body, .. } = parts;
    if url.scheme() != "http" {
        let message =
            "https:// needs TLS, which this engine does not speak yet; use http:// or another engine";
        return Err(Error::unsupported("http.exchange", message));
    }
    if method == Method::CONNECT {
        return Err(Error::unsupported("http.exchange", "this engine opens no CONNECT tunnels"));
    }
    let length = body.size_hint().exact();
    check_framing(&headers, length)?;
    match length {
        Some(0) if method == Method::POST || method == Method::PUT || method == Method::PATCH => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        // hyper, below reqwest, takes a body of unknown length for none with these methods unless the header says so.
        None if method == Method::GET || method == Method::HEAD => {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        _ => {}
    }
    let mut request = reqwest::Request::new(method, same_target(&url)?);
    *request.headers_mut() = headers;
    if length != Some(0) {
        *request.body_mut() = Some(match body.as_bytes() {
            Some(bytes) => bytes.clone().into(),
            None => reqwest::Body::wrap(body),
        });
    }
    Ok(request)
}

/// The URL, unless the URL standard would make another target of it than the one that was asked for.
fn same_target(url: &HttpUrl) -> Result<reqwest::Url> {
    let parsed = url.url()?;
    let asked = url.uri();
    let query = asked.query();
    if parsed.path() != asked.path() || parsed.query() != query {
        let message = "reqwest would rewrite the path or query of this URL; write it in the form of the URL standard, or use another engine";
        return Err(Error::invalid("http.exchange", message).with_detail(HttpReason::InvalidUrl));
    }
    Ok(parsed.clone())
}

fn refused(name: &HeaderName, why: impl std::fmt::Display) -> Error {
    Error::invalid("http.exchange", format!("the header {name} {why}")).with_detail(HttpReason::InvalidHeader)
}

/// Names and values without line ends are the types' own law; what is left are headers that contradict the body.
fn check_framing(headers: &HeaderMap, length: Option<u64>) -> Result<()> {
    for value in headers.get_all(CONTENT_LENGTH) {
        let digits = value.as_bytes().iter().all(u8::is_ascii_digit);
        let said = value.to_str().ok().filter(|_| digits).and_then(|text| text.parse::<u64>().ok());
        if said.is_none() || said != length {
            let body = match length {
                Some(length) => Cow::from(format!("is {length} bytes long")),
                None => "has no known length".into(),
            };
            let why = format!("contradicts the body, which {body}; leave it out, the engine adds it");
            return Err(refused(&CONTENT_LENGTH, why));
        }
    }
    for value in headers.get_all(TRANSFER_ENCODING) {
        if !value.as_bytes().eq_ignore_ascii_case(b"chunked") || headers.contains_key(CONTENT_LENGTH) {
            let why = "may only say chunked, and not beside Content-Length; leave it out, the engine adds it";
            return Err(refused(&TRANSFER_ENCODING, why));
        }
    }
    if headers.get_all(HOST).iter().nth(1).is_some() {
        return Err(refused(&HOST, "stands there twice; give one, or none for the URL's own"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Uri;
    use onex_spi::http::{HttpBody, HttpRequest};
    use onex_spi::{Effect, ErrorKind};

    use super::*;

    fn made(method: Method, uri: &'static str, body: HttpBody) -> Result<reqwest::Request> {
        let url = HttpUrl::from_uri(Uri::from_static(uri)).expect("absolute");
        let mut request = HttpRequest::new(method, url);
        request.body = body;
        to_reqwest(request.into_parts())
    }

    #[test]
    fn an_empty_post_says_so_and_a_get_says_nothing() {
        // HTTP-31
        for (method, length) in [
            (Method::POST, Some("0")),
            (Method::PUT, Some("0")),
            (Method::PATCH, Some("0")),
            (Method::GET, None),
            (Method::DELETE, None),
        ] {
            let request = made(method.clone(), "http://h/", HttpBody::EMPTY).expect("good");
            let said = request.headers().get(CONTENT_LENGTH).map(|value| value.to_str().expect("text"));
            assert_eq!(said, length, "{method}");
        }
    }

    #[test]
    fn a_target_is_sent_as_it_was_written_or_refused() {
        // HTTP-16
        for uri in [
            "http://h/a%0d%0aX:%201?b=%0D%0A",
            "http://h/a//b/;p?a=b?c&d=%25%32%30",
            "http://h/?",
            "http://h",
        ] {
            let request = made(Method::GET, uri, HttpBody::EMPTY).expect(uri);
            let target = Uri::from_static(uri);
            assert_eq!(
                (request.url().path(), request.url().query()),
                (target.path(), target.query()),
                "{uri}"
            );
        }
        for uri in ["http://h/%2e%2e/%2F/%00", "http://h/a/%2e%2e/b", "http://h/a/../b", "http://h/./a"] {
            let error = made(Method::GET, uri, HttpBody::EMPTY).expect_err(uri);
            assert_eq!(
                (error.kind(), error.effect()),
                (ErrorKind::InvalidInput, Effect::NotApplied),
                "{uri}"
            );
            assert_eq!(error.http().map(|fault| fault.reason), Some(HttpReason::InvalidUrl), "{uri}");
        }
    }

    #[test]
    fn tls_and_tunnels_are_refused_before_any_effect() {
        for (method, uri) in [(Method::GET, "https://h/"), (Method::CONNECT, "http://h/")] {
            let error = made(method, uri, HttpBody::EMPTY).expect_err(uri);
            assert_eq!((error.kind(), error.effect()), (ErrorKind::Unsupported, Effect::NotApplied), "{uri}");
        }
    }
}
