//! Bugs in single exchanges, addresses and counts.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ::http::{HeaderMap, StatusCode};
use async_trait::async_trait;
use onex_spi::http::{HttpPeer, HttpRequest, HttpResponse, HttpServer, HttpService, HttpUrl};
use onex_spi::{Error, ErrorKind, Result};

use super::wrapper::{Bug, Served, add};
use crate::broken::Broken;

pub(super) const BUGS: &[Broken<dyn HttpServer>] = &[
    Broken::new("loses_the_query", "HTTP", &["http_server.round_trip"], add::<LosesQuery>),
    Broken::new("forgets_the_peer", "HTTP", &["http_server.round_trip"], add::<ForgetsPeer>),
    Broken::new("drops_repeated_headers", "HTTP-14", &["http_server.duplicate_headers"], add::<DropsRepeats>),
    Broken::new(
        "sends_what_was_not_modified",
        "HTTP-6",
        &["http_server.head_and_bodyless"],
        add::<SendsUnmodified>,
    ),
    Broken::new("tells_the_handlers_error", "HTTP", &["http_server.handler_error_is_500"], add::<TellsError>),
    Broken::new(
        "takes_the_handlers_error_for_a_success",
        "HTTP",
        &["http_server.handler_error_is_500"],
        add::<SwallowsError>,
    ),
    Broken::new(
        "serves_one_at_a_time",
        "HTTP",
        &["http_server.concurrent_exchanges", "http_server.in_flight"],
        add::<OneAtATime>,
    ),
    Broken::new("ends_every_address_with_one", "HTTP", &["http_server.two_at_once"], add::<EndsAll>),
    Broken::new("takes_another_port", "HTTP", &["http_server.address_in_use"], add::<TakesAnotherPort>),
    Broken::new("misnames_a_taken_address", "HTTP", &["http_server.address_in_use"], add::<MisnamesTaken>),
    Broken::new("counts_one_at_most", "HTTP", &["http_server.in_flight"], add::<CountsOne>),
];

#[derive(Debug, Default)]
struct LosesQuery;

impl Bug for LosesQuery {
    fn request(mut request: HttpRequest) -> HttpRequest {
        let whole = request.url.uri().to_string();
        let path = whole.split('?').next().unwrap_or_default();
        if let Ok(url) = HttpUrl::try_from(path) {
            request.url = url;
        }
        request
    }
}

#[derive(Debug, Default)]
struct ForgetsPeer;

impl Bug for ForgetsPeer {
    fn request(mut request: HttpRequest) -> HttpRequest {
        request.extensions.remove::<HttpPeer>();
        request
    }
}

#[derive(Debug, Default)]
struct DropsRepeats;

impl Bug for DropsRepeats {
    fn result(result: Result<HttpResponse>) -> Result<HttpResponse> {
        result.map(|mut response| {
            let mut first = HeaderMap::new();
            for (name, value) in &response.headers {
                first.entry(name).or_insert_with(|| value.clone());
            }
            response.headers = first;
            response
        })
    }
}

#[derive(Debug, Default)]
struct SendsUnmodified;

impl Bug for SendsUnmodified {
    fn result(result: Result<HttpResponse>) -> Result<HttpResponse> {
        result.map(|mut response| {
            if response.status == StatusCode::NOT_MODIFIED {
                response.status = StatusCode::OK;
            }
            response
        })
    }
}

#[derive(Debug, Default)]
struct TellsError;

impl Bug for TellsError {
    fn result(result: Result<HttpResponse>) -> Result<HttpResponse> {
        result.or_else(|error| Ok(HttpResponse::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())))
    }
}

#[derive(Debug, Default)]
struct SwallowsError;

impl Bug for SwallowsError {
    fn result(result: Result<HttpResponse>) -> Result<HttpResponse> {
        result.or_else(|_| Ok(HttpResponse::new(StatusCode::OK, "")))
    }
}

#[derive(Debug, Default)]
struct OneAtATime(tokio::sync::Mutex<()>);

#[async_trait]
impl Bug for OneAtATime {
    async fn exchange(&self, handler: &Arc<dyn HttpService>, request: HttpRequest) -> Result<HttpResponse> {
        let _alone = self.0.lock().await;
        handler.exchange(request).await
    }
}

#[derive(Debug, Default)]
struct EndsAll {
    ended: AtomicBool,
}

#[async_trait]
impl Bug for EndsAll {
    async fn exchange(&self, handler: &Arc<dyn HttpService>, request: HttpRequest) -> Result<HttpResponse> {
        if self.ended.load(Ordering::SeqCst) {
            return Err(Error::closed("http_server.exchange", "the server"));
        }
        handler.exchange(request).await
    }

    fn dropped(&self) {
        self.ended.store(true, Ordering::SeqCst);
    }
}

#[derive(Debug, Default)]
struct TakesAnotherPort;

#[async_trait]
impl Bug for TakesAnotherPort {
    async fn serve(
        &self,
        good: &Arc<dyn HttpServer>,
        address: SocketAddr,
        handler: Arc<dyn HttpService>,
    ) -> Result<Served> {
        match good.serve(address, handler.clone()).await {
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                good.serve((Ipv4Addr::LOCALHOST, 0).into(), handler).await
            }
            result => result,
        }
    }
}

#[derive(Debug, Default)]
struct MisnamesTaken;

#[async_trait]
impl Bug for MisnamesTaken {
    async fn serve(
        &self,
        good: &Arc<dyn HttpServer>,
        address: SocketAddr,
        handler: Arc<dyn HttpService>,
    ) -> Result<Served> {
        good.serve(address, handler).await.map_err(|error| match error.kind() {
            ErrorKind::Unavailable => Error::invalid("http_server.serve", error.message().to_owned()),
            _ => error,
        })
    }
}

#[derive(Debug, Default)]
struct CountsOne;

impl Bug for CountsOne {
    fn in_flight(good: u64) -> u64 {
        good.min(1)
    }
}
