//! Bugs in heads: headers, URLs, methods, what is added and what is left out.

use ::http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, TRANSFER_ENCODING, USER_AGENT};
use ::http::{Method, StatusCode};
use onex_spi::Result;
use onex_spi::http::{HttpReason, HttpRequest, HttpResponse, HttpTransport, HttpUrl};

use super::wrapper::{Bug, add};
use crate::broken::Broken;

pub(super) const BUGS: &[Broken<dyn HttpTransport>] = &[
    Broken::new("keeps_a_body_for_head", "HTTP-6", &["http.head_and_bodyless"], add::<KeepsHeadBody>),
    Broken::new("sends_options_as_get", "HTTP", &["http.round_trip"], add::<OptionsAsGet>),
    Broken::new("drops_repeated_headers", "HTTP-14", &["http.duplicate_headers"], add::<DropsRepeats>),
    Broken::new("reorders_headers", "HTTP-14", &["http.duplicate_headers"], add::<Reorders>),
    Broken::new("repairs_broken_framing", "HTTP-15", &["http.header_injection"], add::<RepairsFraming>),
    Broken::new("shortens_urls", "HTTP-16", &["http.url_injection"], add::<ShortensUrls>),
    Broken::new("says_a_length_for_get", "HTTP-31", &["http.empty_post_length"], add::<LengthForGet>),
    Broken::new("adds_a_header", "HTTP", &["http.bytes_only"], add::<AddsHeader>),
    Broken::new("hides_an_unknown_route", "HTTP-35", &["http.unmatched_route_is_error"], add::<HidesRoute>),
];

#[derive(Debug, Default)]
struct KeepsHeadBody;

impl Bug for KeepsHeadBody {
    fn result(method: &Method, result: Result<HttpResponse>) -> Result<HttpResponse> {
        result.map(|mut response| {
            if method == Method::HEAD {
                response.body = "there is none".into();
            }
            response
        })
    }
}

#[derive(Debug, Default)]
struct OptionsAsGet;

impl Bug for OptionsAsGet {
    fn request(mut request: HttpRequest) -> HttpRequest {
        if request.method == Method::OPTIONS {
            request.method = Method::GET;
        }
        request
    }
}

#[derive(Debug, Default)]
struct DropsRepeats;

impl Bug for DropsRepeats {
    fn result(_: &Method, result: Result<HttpResponse>) -> Result<HttpResponse> {
        result.map(|mut response| {
            let names: Vec<_> = response.headers.keys().cloned().collect();
            for name in names {
                if let Some(last) = response.headers.get_all(&name).iter().next_back().cloned() {
                    response.headers.insert(name, last);
                }
            }
            response
        })
    }
}

#[derive(Debug, Default)]
struct Reorders;

impl Bug for Reorders {
    fn request(mut request: HttpRequest) -> HttpRequest {
        let mut sorted = HeaderMap::new();
        for name in request.headers.keys() {
            let mut values: Vec<_> = request.headers.get_all(name).iter().cloned().collect();
            values.sort_by(|left, right| left.as_bytes().cmp(right.as_bytes()));
            for value in values {
                sorted.append(name, value);
            }
        }
        request.headers = sorted;
        request
    }
}

#[derive(Debug, Default)]
struct RepairsFraming;

impl Bug for RepairsFraming {
    fn request(mut request: HttpRequest) -> HttpRequest {
        request.headers.remove(CONTENT_LENGTH);
        request.headers.remove(TRANSFER_ENCODING);
        request
    }
}

#[derive(Debug, Default)]
struct ShortensUrls;

impl Bug for ShortensUrls {
    fn request(mut request: HttpRequest) -> HttpRequest {
        let text = request.url.uri().to_string();
        // What reqwest did to raw line ends, here to those that are encoded.
        let short = text.replace("%0d%0a", "");
        if let Some(url) = short.parse().ok().and_then(|uri| HttpUrl::from_uri(uri).ok()) {
            request.url = url;
        }
        request
    }
}

#[derive(Debug, Default)]
struct LengthForGet;

impl Bug for LengthForGet {
    fn request(mut request: HttpRequest) -> HttpRequest {
        if request.method == Method::GET && request.body.as_bytes().is_some_and(bytes::Bytes::is_empty) {
            request.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        request
    }
}

#[derive(Debug, Default)]
struct AddsHeader;

impl Bug for AddsHeader {
    fn request(mut request: HttpRequest) -> HttpRequest {
        request.headers.insert(USER_AGENT, HeaderValue::from_static("engine/1.0"));
        request
    }
}

#[derive(Debug, Default)]
struct HidesRoute;

impl Bug for HidesRoute {
    fn result(_: &Method, result: Result<HttpResponse>) -> Result<HttpResponse> {
        match result {
            Err(error) if error.http().is_some_and(|fault| fault.reason == HttpReason::UnmatchedRoute) => {
                Ok(HttpResponse::new(StatusCode::NOT_FOUND, ""))
            }
            result => result,
        }
    }
}
