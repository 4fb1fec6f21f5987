//! Bugs in what is sent, handed out, shown and counted.

use std::sync::Arc;

use ::http::header::CONTENT_LENGTH;
use ::http::{HeaderMap, Method, StatusCode};
use async_trait::async_trait;
use onex_spi::http::{HttpBody, HttpClient, HttpClientMetrics, HttpRequest, HttpResponse, HttpUrl};
use onex_spi::{Error, ErrorKind, Result};

use super::wrapper::{Bug, add};
use crate::broken::Broken;
use crate::http::client::{HttpClientFactory, HttpClientSetup};

pub(super) const BUGS: &[Broken<HttpClientFactory>] = &[
    Broken::new("drops_the_body_of_a_delete", "HTTP", &["http_client.verbs"], add::<DropsDeleteBody>),
    Broken::new("drops_repeated_headers", "HTTP-14", &["http_client.query_and_headers"], add::<DropsRepeats>),
    Broken::new(
        "repairs_broken_framing",
        "HTTP-15",
        &["http_client.header_injection"],
        add::<RepairsFraming>,
    ),
    Broken::new("shortens_urls", "HTTP-16", &["http_client.url_injection"], add::<ShortensUrls>),
    Broken::new(
        "takes_an_unknown_status_for_an_error",
        "HTTP",
        &["http_client.status_is_no_error"],
        add::<RefusesUnknownStatus>,
    ),
    Broken::new(
        "empties_the_answer_of_a_failed_server",
        "HTTP",
        &["http_client.status_is_no_error", "http_client.json"],
        add::<EmptiesServerError>,
    ),
    Broken::new(
        "reverses_the_interceptors",
        "HTTP",
        &["http_client.interceptors"],
        add::<ReversesInterceptors>,
    ),
    Broken::new(
        "puts_call_interceptors_inside_the_retries",
        "HTTP",
        &["http_client.interceptors"],
        add::<InterceptsInside>,
    ),
    Broken::new("shows_urls_in_errors", "HTTP", &["http_client.errors_hide_secrets"], add::<ShowsUrls>),
    Broken::new("counts_attempts_as_calls", "HTTP", &["http_client.metrics_add_up"], add::<CountsAttempts>),
    Broken::new(
        "counts_a_dropped_call_as_failed",
        "HTTP-24",
        &["http_client.cancel_safety", "http_client.metrics_add_up"],
        add::<CountsDropsAsFailures>,
    ),
];

#[derive(Debug, Default)]
struct DropsDeleteBody;

impl Bug for DropsDeleteBody {
    fn outgoing(&self, mut request: HttpRequest) -> HttpRequest {
        if request.method == Method::DELETE {
            request.body = HttpBody::EMPTY;
        }
        request
    }
}

#[derive(Debug, Default)]
struct DropsRepeats;

impl Bug for DropsRepeats {
    fn outgoing(&self, mut request: HttpRequest) -> HttpRequest {
        let mut first = HeaderMap::new();
        for (name, value) in &request.headers {
            first.entry(name).or_insert_with(|| value.clone());
        }
        request.headers = first;
        request
    }
}

#[derive(Debug, Default)]
struct RepairsFraming;

impl Bug for RepairsFraming {
    fn outgoing(&self, mut request: HttpRequest) -> HttpRequest {
        request.headers.remove(CONTENT_LENGTH);
        request
    }
}

#[derive(Debug, Default)]
struct ShortensUrls;

impl Bug for ShortensUrls {
    fn outgoing(&self, mut request: HttpRequest) -> HttpRequest {
        let text = request.url.uri().to_string();
        let short = text.replace("%0d%0a", "");
        if let Some(url) = short.parse().ok().and_then(|uri| HttpUrl::from_uri(uri).ok()) {
            request.url = url;
        }
        request
    }
}

#[derive(Debug, Default)]
struct RefusesUnknownStatus;

impl Bug for RefusesUnknownStatus {
    fn result(&self, result: Result<HttpResponse>) -> Result<HttpResponse> {
        let response = result?;
        match response.status.canonical_reason() {
            Some(_) => Ok(response),
            None => Err(Error::new(ErrorKind::Unclassified, "http.request", response.status.to_string())),
        }
    }
}

#[derive(Debug, Default)]
struct EmptiesServerError;

impl Bug for EmptiesServerError {
    fn result(&self, result: Result<HttpResponse>) -> Result<HttpResponse> {
        result.map(|mut response| {
            if response.status == StatusCode::INTERNAL_SERVER_ERROR {
                response.body = HttpBody::EMPTY;
            }
            response
        })
    }
}

#[derive(Debug, Default)]
struct ReversesInterceptors;

impl Bug for ReversesInterceptors {
    fn setup(&mut self, setup: &mut HttpClientSetup) {
        setup.around_call.reverse();
        setup.around_attempt.reverse();
    }
}

#[derive(Debug, Default)]
struct InterceptsInside;

impl Bug for InterceptsInside {
    fn setup(&mut self, setup: &mut HttpClientSetup) {
        let inside = std::mem::take(&mut setup.around_call);
        setup.around_attempt.splice(0..0, inside);
    }
}

#[derive(Debug, Default)]
struct ShowsUrls;

#[async_trait]
impl Bug for ShowsUrls {
    async fn request(&self, good: &Arc<dyn HttpClient>, request: HttpRequest) -> Result<HttpResponse> {
        let url = request.url.uri().to_string();
        good.request(request).await.map_err(|error| {
            let message = format!("{url}: {}", error.message());
            let shown = Error::new(error.kind(), error.operation(), message)
                .with_effect(error.effect())
                .with_detail(error.detail().clone());
            match error.retry_after() {
                Some(after) => shown.with_retry_after(after),
                None => shown,
            }
        })
    }
}

#[derive(Debug, Default)]
struct CountsAttempts;

impl Bug for CountsAttempts {
    fn metrics(&self, mut good: HttpClientMetrics) -> HttpClientMetrics {
        good.requests += good.retries;
        good.successes += good.retries;
        good
    }
}

#[derive(Debug, Default)]
struct CountsDropsAsFailures;

impl Bug for CountsDropsAsFailures {
    fn metrics(&self, mut good: HttpClientMetrics) -> HttpClientMetrics {
        good.failures += std::mem::take(&mut good.cancelled);
        good
    }
}
