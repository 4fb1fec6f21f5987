//! Where a case's servers stand, and what cases of all HTTP suites say again and again.

use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::http::{HeaderMap, Method, StatusCode};
use bytes::{Bytes, BytesMut};
use onex_spi::http::{HttpBody, HttpReason, HttpRequest, HttpResponse, HttpService, HttpUrl};
use onex_spi::{Error, Result};

use super::handler::Switchboard;
use crate::net::{Answer, Gate, Log, ScriptedServer};
use crate::suite::Stop;

/// The longest that a step of a case may take that has no time of its own.
const PATIENCE: Duration = Duration::from_secs(20);

/// The servers of one case: sockets for engines on the wire, a switchboard for the others.
#[derive(Debug, Default)]
pub(super) struct Stage {
    pub(super) board: Arc<Switchboard>,
    mounted: AtomicUsize,
    servers: Mutex<Vec<ScriptedServer>>,
}

impl Stage {
    /// Serves `service` where the engine can reach it; the URL is that of the path `/`.
    pub(super) async fn serve(&self, wire: bool, service: Arc<dyn HttpService>) -> Result<HttpUrl, Stop> {
        if wire {
            return Ok(self.listen(service).await?.0);
        }
        let authority = format!("server-{}.test", self.mounted.fetch_add(1, Ordering::Relaxed));
        self.board.mount(&authority, service);
        Ok(HttpUrl::try_from(format!("http://{authority}/"))?)
    }

    /// Starts a scripted server, which lives as long as the stage.
    pub(super) async fn listen(&self, answer: impl Into<Answer> + Send) -> Result<(HttpUrl, Log), Stop> {
        let server =
            ScriptedServer::start(answer).await.map_err(|error| broken("no scripted server", error))?;
        let found = (server.url("/")?, server.log().clone());
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).push(server);
        Ok(found)
    }
}

/// The harness itself failed.
pub(super) fn broken(what: &str, error: impl Debug) -> Stop {
    Stop::Failed { law: "", message: format!("{what}: {error:?}") }
}

/// A law is broken.
pub(super) fn failed(law: &'static str, message: String) -> Stop {
    Stop::Failed { law, message }
}

/// Waits for `event`; one that does not come breaks `law`.
pub(super) async fn within<T>(
    law: &'static str,
    what: &str,
    event: impl Future<Output = T> + Send,
) -> Result<T, Stop> {
    tokio::time::timeout(PATIENCE, event)
        .await
        .map_err(|_| failed(law, format!("{what}: nothing within {PATIENCE:?}")))
}

/// Waits until `reached` holds of what an engine counts, for which there is no event.
pub(super) async fn settles<T: Debug + PartialEq + Send>(
    law: &'static str,
    what: &str,
    due: T,
    now: impl Fn() -> T + Send,
) -> Result<(), Stop> {
    let begin = std::time::Instant::now();
    loop {
        let seen = now();
        if seen == due {
            return Ok(());
        }
        if begin.elapsed() > PATIENCE {
            return Err(failed(law, format!("{what}: {seen:?} did not become {due:?} within {PATIENCE:?}")));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The error that was due; anything else breaks `law`.
pub(super) fn refused<T: Debug>(law: &'static str, what: &str, result: Result<T>) -> Result<Error, Stop> {
    match result {
        Ok(value) => Err(failed(law, format!("{what}: Ok({value:?}) where an error is due"))),
        Err(error) => Ok(error),
    }
}

/// The value that was due; an error breaks `law`.
pub(super) fn accepted<T>(law: &'static str, what: &str, result: Result<T>) -> Result<T, Stop> {
    result.map_err(|error| failed(law, format!("{what}: {error:#} ({:?})", error.effect())))
}

/// The HTTP reason of an error.
pub(super) fn reason(error: &Error) -> Option<HttpReason> {
    error.http().map(|fault| fault.reason)
}

/// A request without headers and body.
pub(super) fn request(method: Method, url: &HttpUrl) -> HttpRequest {
    HttpRequest::new(method, url.clone())
}

/// A `GET`.
pub(super) fn get(url: &HttpUrl) -> HttpRequest {
    request(Method::GET, url)
}

/// A `POST` of `body`.
pub(super) fn post(url: &HttpUrl, body: impl Into<HttpBody>) -> HttpRequest {
    let mut request = request(Method::POST, url);
    request.body = body.into();
    request
}

/// The path below a server's URL.
pub(super) fn at(url: &HttpUrl, path: &str) -> Result<HttpUrl, Stop> {
    Ok(url.join(path)?)
}

/// What there was of a body, and how it ended.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) data: Bytes,
    pub(super) trailers: Option<HeaderMap>,
    pub(super) error: Option<Error>,
}

/// Reads a body by frames to its end or its error; a body that hangs breaks `law`.
pub(super) async fn read(law: &'static str, mut body: HttpBody) -> Result<Read, Stop> {
    read_and_open(law, &mut body, None).await
}

/// As [`read`]; opens the gate once the given number of bytes arrived.
pub(super) async fn read_and_open(
    law: &'static str,
    body: &mut HttpBody,
    opens: Option<(usize, &Gate)>,
) -> Result<Read, Stop> {
    let mut found = Read { data: Bytes::new(), trailers: None, error: None };
    let mut data = BytesMut::new();
    while let Some(frame) = within(law, "the next frame of a body", body.frame()).await? {
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(bytes)) => data.extend_from_slice(&bytes),
            Ok(Err(frame)) => found.trailers = frame.into_trailers().ok(),
            Err(error) => {
                found.error = Some(error);
                break;
            }
        }
        if let Some((_, gate)) = opens.filter(|(count, _)| data.len() >= *count) {
            gate.open();
        }
    }
    found.data = data.freeze();
    Ok(found)
}

/// Reads a body that must come whole.
pub(super) async fn whole(law: &'static str, body: HttpBody) -> Result<Bytes, Stop> {
    let found = read(law, body).await?;
    match found.error {
        Some(error) => {
            Err(failed(law, format!("the body ended after {} bytes: {error:#}", found.data.len())))
        }
        None => Ok(found.data),
    }
}

/// Runs `call` beside a sleep of `limit`; it must end neither before the limit nor more than 150 ms after the sleep, which
/// is as late as this machine is now.
pub(super) async fn ends_at<T: Send>(
    law: &'static str,
    what: &str,
    limit: Duration,
    call: impl Future<Output = T> + Send,
) -> Result<T, Stop> {
    const SLACK: Duration = Duration::from_millis(150);
    let begin = std::time::Instant::now();
    let sleep = async {
        tokio::time::sleep(limit).await;
        begin.elapsed()
    };
    let call = async { (call.await, begin.elapsed()) };
    let ((result, took), woke) = within(law, what, async { tokio::join!(call, sleep) }).await?;
    if took < limit {
        return Err(failed(law, format!("{what}: ended after {took:?}, before the limit of {limit:?}")));
    }
    if took > woke + SLACK {
        return Err(failed(law, format!("{what}: ended after {took:?}; the limit is {limit:?}")));
    }
    Ok(result)
}

/// Counts the requests that a service got.
#[derive(Clone, Debug, Default)]
pub(super) struct Count(Arc<AtomicUsize>);

impl Count {
    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// A service that answers by the number of the request, from 0, and counts.
pub(super) fn numbered<F>(answer: F) -> (Arc<dyn HttpService>, Count)
where
    F: Fn(usize, HttpRequest) -> HttpResponse + Send + Sync + 'static,
{
    let count = Count::default();
    let counted = count.clone();
    let service = super::handler(move |request| {
        let response = answer(counted.0.fetch_add(1, Ordering::SeqCst), request);
        async { Ok(response) }
    });
    (service, count)
}

/// A response with a status and a text.
pub(super) fn answer(status: u16, text: &'static str) -> HttpResponse {
    HttpResponse::new(StatusCode::from_u16(status).unwrap_or(StatusCode::OK), text)
}
