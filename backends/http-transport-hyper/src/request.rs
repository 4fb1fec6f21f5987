//! From our request to hyper's: refuse what would break the framing, add what the framing needs.

use std::borrow::Cow;

use http::header::{CONTENT_LENGTH, Entry, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Uri};
use http_body::Body;
use onex_spi::http::{HttpBody, HttpReason, HttpUrl, RequestParts};
use onex_spi::{Error, Result};

/// Makes hyper's request without `Host`, which the connection knows.
///
/// Names and values without line ends are the types' own law; what is left are headers that contradict
/// the body, and they are refused before anything is dialled.
pub(crate) fn to_hyper(parts: RequestParts) -> Result<(Request<HttpBody>, HttpUrl)> {
    let RequestParts { method, url, mut headers, body, .. } = parts;
    if url.scheme() != "http" {
        let message = "https:// needs TLS, which this engine does not speak; use http:// or another engine";
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
        // hyper takes a body of unknown length for none with these methods unless the header says so.
        None if method == Method::GET || method == Method::HEAD => {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        _ => {}
    }
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = origin_form(url.uri());
    *request.headers_mut() = headers;
    Ok((request, url))
}

fn refused(name: &HeaderName, why: impl std::fmt::Display) -> Error {
    Error::invalid("http.exchange", format!("the header {name} {why}")).with_detail(HttpReason::InvalidHeader)
}

fn check_framing(headers: &HeaderMap, length: Option<u64>) -> Result<()> {
    if headers.is_empty() {
        return Ok(());
    }
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
        if !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(refused(
                &TRANSFER_ENCODING,
                "may only say chunked; leave it out, the engine adds it",
            ));
        }
    }
    if headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH) {
        return Err(refused(
            &CONTENT_LENGTH,
            "stands beside transfer-encoding; leave both out, the engine adds one",
        ));
    }
    if headers.get_all(HOST).iter().nth(1).is_some() {
        return Err(refused(&HOST, "stands there twice; give one, or none for the URL's own"));
    }
    Ok(())
}

fn origin_form(uri: &Uri) -> Uri {
    match uri.path_and_query() {
        Some(path) if path.as_str() != "/" => Uri::from(path.clone()),
        _ => Uri::from(PathAndQuery::from_static("/")),
    }
}

/// Adds `Host` unless the caller gave one.
pub(crate) fn add_host(headers: &mut HeaderMap, host: &HeaderValue) {
    if let Entry::Vacant(entry) = headers.entry(HOST) {
        entry.insert(host.clone());
    }
}

/// The authority in its one spelling: no user, lower case, no default port; borrowed where it is so already.
pub(crate) fn canonical(uri: &Uri) -> Cow<'_, str> {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let short = host.strip_suffix(":80").or_else(|| host.strip_suffix(':')).unwrap_or(host);
    if short.bytes().any(|byte| byte.is_ascii_uppercase()) {
        short.to_ascii_lowercase().into()
    } else {
        short.into()
    }
}

#[cfg(test)]
mod tests {
    use onex_spi::http::HttpRequest;
    use onex_spi::{Effect, ErrorKind};

    use super::*;

    fn request(method: Method, url: &str, headers: &[(&str, &str)], body: HttpBody) -> HttpRequest {
        let mut request = HttpRequest::new(method, HttpUrl::try_from(url).expect("a URL"));
        for (name, value) in headers {
            request.headers.append(
                HeaderName::from_bytes(name.as_bytes()).expect("a name"),
                value.parse().expect("a value"),
            );
        }
        request.body = body;
        request
    }

    fn unknown() -> HttpBody {
        HttpBody::replayable(|| "abc".into(), None)
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
            let (made, _) = to_hyper(request(method.clone(), "http://h/", &[], HttpBody::EMPTY).into_parts())
                .expect("good");
            let said = made.headers().get(CONTENT_LENGTH).map(|value| value.to_str().expect("text"));
            assert_eq!(said, length, "{method}");
        }
    }

    #[test]
    fn a_get_body_of_unknown_length_is_chunked_and_not_dropped() {
        let (made, _) =
            to_hyper(request(Method::GET, "http://h/", &[], unknown()).into_parts()).expect("good");
        assert_eq!(made.headers()[TRANSFER_ENCODING], "chunked");
    }

    #[test]
    fn headers_that_contradict_the_framing_are_refused() {
        let rows: [(&[(&str, &str)], HttpBody); 8] = [
            (&[("content-length", "3"), ("transfer-encoding", "chunked")], "abc".into()),
            (&[("content-length", "4")], "abc".into()),
            (&[("content-length", "3"), ("content-length", "4")], "abc".into()),
            (&[("content-length", "+3")], "abc".into()),
            (&[("content-length", "x")], "abc".into()),
            (&[("content-length", "3")], unknown()),
            (&[("transfer-encoding", "gzip, chunked")], unknown()),
            (&[("host", "a"), ("host", "b")], HttpBody::EMPTY),
        ];
        for (headers, body) in rows {
            let made = to_hyper(request(Method::POST, "http://h/", headers, body).into_parts());
            let error = made.map(drop).expect_err("refused");
            assert_eq!((error.kind(), error.effect()), (ErrorKind::InvalidInput, Effect::NotApplied));
            assert_eq!(
                error.http().map(|fault| fault.reason),
                Some(HttpReason::InvalidHeader),
                "{headers:?}"
            );
        }
        let fits = request(Method::POST, "http://h/", &[("content-length", "3")], "abc".into());
        assert!(to_hyper(fits.into_parts()).is_ok());
    }

    #[test]
    fn the_target_is_in_origin_form() {
        for (url, target) in [
            ("http://h", "/"),
            ("http://h?a=1", "/?a=1"),
            ("http://h/p?a=1#f", "/p?a=1"),
            ("http://u:p@h/p", "/p"),
        ] {
            let (made, _) =
                to_hyper(request(Method::GET, url, &[], HttpBody::EMPTY).into_parts()).expect("good");
            assert_eq!(made.uri().to_string(), target, "{url}");
        }
        for (uri, target) in [("http://h?a=1", "/?a=1"), ("http://h", "/")] {
            let bare = HttpUrl::from_uri(Uri::from_static(uri)).expect("absolute");
            let (made, _) = to_hyper(HttpRequest::new(Method::GET, bare).into_parts()).expect("good");
            assert_eq!(made.uri().to_string(), target, "{uri}");
        }
    }

    #[test]
    fn an_origin_has_one_spelling() {
        for (uri, spelling) in [
            ("http://h/", "h"),
            ("http://H:80/", "h"),
            ("http://u:p@h:81/", "h:81"),
            ("http://[::1]:80/", "[::1]"),
            ("http://[fe80::80]/", "[fe80::80]"),
        ] {
            assert_eq!(canonical(&Uri::from_static(uri)), spelling, "{uri}");
        }
    }

    #[test]
    fn tls_and_tunnels_are_refused_before_any_effect() {
        for (method, url) in [(Method::GET, "https://h/"), (Method::CONNECT, "http://h/")] {
            let made = to_hyper(request(method, url, &[], HttpBody::EMPTY).into_parts());
            let error = made.map(drop).expect_err("refused");
            assert_eq!((error.kind(), error.effect()), (ErrorKind::Unsupported, Effect::NotApplied), "{url}");
        }
    }
}
