//! From our request to hyper's: the framing that every engine has, and the target in origin form.

use std::borrow::Cow;

use http::header::{Entry, HOST, HeaderValue};
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Uri};
use onex_spi::Result;
use onex_spi::http::{HttpBody, HttpUrl, RequestParts};

/// Makes hyper's request without `Host`, which the connection knows.
pub(crate) fn to_hyper(mut parts: RequestParts) -> Result<(Request<HttpBody>, HttpUrl)> {
    parts.require_plain()?;
    parts.frame()?;
    let RequestParts { method, url, headers, body, .. } = parts;
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = origin_form(url.uri());
    *request.headers_mut() = headers;
    Ok((request, url))
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
    use http::Method;
    use onex_spi::http::HttpRequest;

    use super::*;

    #[test]
    fn the_target_is_in_origin_form() {
        for (url, target) in [
            ("http://h", "/"),
            ("http://h?a=1", "/?a=1"),
            ("http://h/p?a=1#f", "/p?a=1"),
            ("http://u:p@h/p", "/p"),
        ] {
            let (made, _) =
                to_hyper(HttpRequest::new(Method::GET, HttpUrl::try_from(url).expect("a URL")).into_parts())
                    .expect("good");
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
}
