//! From our request to reqwest's: the framing that every engine has, and a target that reqwest does not rewrite.

use http_body::Body as _;
use onex_spi::http::{HttpReason, HttpUrl, RequestParts};
use onex_spi::{Error, Result};

/// Makes reqwest's request; what cannot be sent as it is meant is refused before anything is dialled.
pub(crate) fn to_reqwest(mut parts: RequestParts) -> Result<reqwest::Request> {
    parts.require_plain()?;
    parts.frame()?;
    let RequestParts { method, url, headers, body, .. } = parts;
    let mut request = reqwest::Request::new(method, same_target(&url)?);
    *request.headers_mut() = headers;
    if body.size_hint().exact() != Some(0) {
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

#[cfg(test)]
mod tests {
    use http::{Method, Uri};
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
}
