//! Cases about time: each limit cuts in its phase, at its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ::http::{HeaderValue, StatusCode};
use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use onex_spi::http::{
    HttpFeature, HttpInterceptor, HttpNext, HttpPhase, HttpReason, HttpRequest, HttpResponse, HttpService,
    HttpTimeouts, RetryPolicy,
};
use onex_spi::{Effect, Error, ErrorKind, Result};

use super::{Case, CaseResult, World, case};
use crate::http::handler::{data, handler, streamed};
use crate::http::stage::{
    accepted, answer, ends_at, failed, get, numbered, post, read, reason, refused, whole, within,
};
use crate::net::Script;
use crate::{ensure, ensure_eq};

pub(super) fn cases() -> Vec<Case<World>> {
    vec![
        case!("http_client.timeout_total_phases", ["HTTP-18"], ["ONEX-HTTP-19"], timeout_total_phases),
        case!(
            "http_client.timeout_total_ready_body",
            ["HTTP-18"],
            ["ONEX-HTTP-19"],
            timeout_total_ready_body
        ),
        case!("http_client.timeout_total_backoff", ["HTTP-18"], ["ONEX-HTTP-19"], timeout_total_backoff),
        case!("http_client.timeout_idle_read", ["HTTP-19"], ["ONEX-HTTPX-09"], timeout_idle_read),
        case!("http_client.timeout_head", ["HTTP-20"], [], timeout_head),
        case!("http_client.timeout_headers_slowloris", ["HTTP-20"], [], timeout_headers_slowloris),
        case!("http_client.timeout_attempt", ["HTTP-18"], [], timeout_attempt),
        case!("http_client.timeout_of_request", ["HTTP-18"], ["ONEX-HTTP-19"], timeout_of_request),
    ]
}

const LIMIT: Duration = Duration::from_millis(400);

fn limits(change: impl FnOnce(&mut HttpTimeouts)) -> HttpTimeouts {
    let mut limits = HttpTimeouts::default();
    change(&mut limits);
    limits
}

fn judge(law: &'static str, error: &Error, phase: HttpPhase) -> CaseResult {
    let told = (error.kind(), reason(error), error.http().and_then(|fault| fault.phase));
    let due = (ErrorKind::TimedOut, Some(HttpReason::Timeout), Some(phase));
    if told == due {
        return Ok(());
    }
    Err(failed(law, format!("{told:?} is not {due:?}: {error:#}")))
}

/// A handler that never answers.
fn silent() -> Arc<dyn HttpService> {
    handler(|_| std::future::pending::<Result<HttpResponse>>())
}

/// A handler whose body stalls after its first part.
fn stalling() -> Arc<dyn HttpService> {
    handler(|_| async {
        let body = stream::iter([data("first")]).chain(stream::pending());
        Ok(HttpResponse::new(StatusCode::OK, streamed(body)))
    })
}

async fn timeout_total_phases(world: World) -> CaseResult {
    let lab = world.open_with(|setup| setup.timeouts = limits(|limits| limits.total = Some(LIMIT))).await?;
    let url = lab.serve(silent()).await?;
    let call =
        ends_at("HTTP-18", "the total limit before the head", LIMIT, lab.client.request(get(&url))).await?;
    let error = refused("HTTP-18", "a head that never comes", call)?;
    judge("HTTP-18", &error, HttpPhase::TotalHead)?;
    ensure_eq!("HTTP-18", error.effect(), Effect::Unknown, "the server may have acted: {error:#}");

    let url = lab.serve(stalling()).await?;
    let call = async {
        let response = lab.client.request(get(&url)).await?;
        Ok::<_, Error>(read("HTTP-18", response.into_body()).await)
    };
    let found = ends_at("HTTP-18", "the total limit inside the body", LIMIT, call).await?;
    let found = accepted("HTTP-18", "the head before a body that stalls", found)??;
    ensure_eq!("HTTP-18", found.data, "first", "what came before the limit");
    let Some(error) = found.error else {
        return Err(failed("HTTP-18", "a body that was cut ended as a success".into()));
    };
    judge("HTTP-18", &error, HttpPhase::TotalBody)
}

/// Answers with a body that has always more, in the very moment in which it is asked.
#[derive(Debug)]
struct Endless;

#[async_trait]
impl HttpInterceptor for Endless {
    async fn intercept(&self, request: HttpRequest, next: HttpNext<'_>) -> Result<HttpResponse> {
        let mut response = next.run(request).await?;
        response.body = streamed(stream::repeat_with(|| data("more")));
        Ok(response)
    }
}

async fn timeout_total_ready_body(world: World) -> CaseResult {
    let lab = world
        .open_with(|setup| {
            setup.timeouts = limits(|limits| limits.total = Some(LIMIT));
            setup.around_attempt = vec![Arc::new(Endless)];
        })
        .await?;
    let (service, _) = numbered(|_, _| answer(200, ""));
    let url = lab.serve(service).await?;
    let begin = std::time::Instant::now();
    let call = within("HTTP-18", "the head", lab.client.request(get(&url))).await?;
    let mut body = accepted("HTTP-18", "the head", call)?.into_body();
    let error = loop {
        match body.frame().await {
            // Such a body never waits, so no timer of the case could end it.
            Some(Ok(_)) if begin.elapsed() < LIMIT * 10 => {}
            Some(Err(error)) => break error,
            other => {
                return Err(failed("HTTP-18", format!("a body without end, after its limit: {other:?}")));
            }
        }
    };
    ensure!("HTTP-18", begin.elapsed() >= LIMIT, "cut after {:?}, before {LIMIT:?}", begin.elapsed());
    judge("HTTP-18", &error, HttpPhase::TotalBody)
}

async fn timeout_total_backoff(world: World) -> CaseResult {
    let lab = world
        .open_with(|setup| {
            setup.timeouts = limits(|limits| limits.total = Some(LIMIT));
            setup.retry =
                RetryPolicy::default().with_backoff(Duration::from_millis(20), Duration::from_secs(30));
            setup.retry.jitter = false;
        })
        .await?;
    // A wait that would end after the limit is not begun: the answer that there is comes at once.
    let (service, count) = numbered(|_, _| {
        let mut response = answer(503, "busy");
        response.headers.insert("retry-after", HeaderValue::from_static("5"));
        response
    });
    let url = lab.serve(service).await?;
    let begin = std::time::Instant::now();
    let call = within("HTTP-18", "a call", lab.client.request(get(&url))).await?;
    let response = accepted("HTTP-18", "a wait beyond the limit", call)?;
    ensure_eq!("HTTP-18", (response.status.as_u16(), count.get()), (503, 1), "the answer and the attempts");
    ensure!("HTTP-18", begin.elapsed() < Duration::from_secs(4), "the wait was begun all the same");

    // The limit covers attempts and waits together: the second attempt gets what is left.
    let service = {
        let first = AtomicBool::new(true);
        handler(move |_| {
            let first = first.swap(false, Ordering::SeqCst);
            async move { if first { Ok(answer(503, "")) } else { std::future::pending().await } }
        })
    };
    let url = lab.serve(service).await?;
    let call =
        ends_at("HTTP-18", "the total limit in a second attempt", LIMIT, lab.client.request(get(&url)))
            .await?;
    let error = refused("HTTP-18", "a second attempt that never answers", call)?;
    judge("HTTP-18", &error, HttpPhase::TotalHead)
}

async fn timeout_idle_read(world: World) -> CaseResult {
    let lab =
        world.open_with(|setup| setup.timeouts = limits(|limits| limits.idle_read = Some(LIMIT))).await?;
    // Many times the limit in all, never the limit between two parts.
    let steady = handler(|_| async {
        let parts = stream::unfold(0, |number| async move {
            tokio::time::sleep(LIMIT / 8).await;
            (number < 16).then(|| (data("x"), number + 1))
        });
        Ok(HttpResponse::new(StatusCode::OK, streamed(parts)))
    });
    let url = lab.serve(steady).await?;
    let call = within("HTTP-19", "a slow body", lab.client.request(get(&url))).await?;
    let body = whole("HTTP-19", accepted("HTTP-19", "a slow body", call)?.into_body()).await?;
    ensure_eq!("HTTP-19", body.len(), 16, "a body that is slow and never idle");

    let url = lab.serve(stalling()).await?;
    let call = within("HTTP-19", "the head", lab.client.request(get(&url))).await?;
    let mut body = accepted("HTTP-19", "the head", call)?.into_body();
    let first = within("HTTP-19", "the first part", body.frame()).await?;
    ensure!("HTTP-19", matches!(first, Some(Ok(_))), "the first part: {first:?}");
    let stalled = ends_at("HTTP-19", "the idle limit", LIMIT, body.frame()).await?;
    let error = match stalled {
        Some(Err(error)) => error,
        other => return Err(failed("HTTP-19", format!("a stalled body gave {other:?}"))),
    };
    judge("HTTP-19", &error, HttpPhase::IdleRead)?;
    let bytes = error.http().and_then(|fault| fault.bytes_received);
    ensure_eq!("HTTP-19", bytes, Some(5), "the bytes that the error tells");
    Ok(())
}

async fn timeout_head(world: World) -> CaseResult {
    let lab = world.open_with(|setup| setup.timeouts = limits(|limits| limits.head = Some(LIMIT))).await?;
    let url = lab.serve(silent()).await?;
    let call = ends_at("HTTP-20", "the head limit", LIMIT, lab.client.request(get(&url))).await?;
    judge("HTTP-20", &refused("HTTP-20", "a head that never comes", call)?, HttpPhase::Head)?;

    // The clock of the head runs from the end of the request body: a slow upload is not cut.
    let (service, _) = numbered(|_, _| answer(200, "ok"));
    let url = lab.serve(handler(move |mut request| {
        let service = service.clone();
        async move {
            std::mem::take(&mut request.body).bytes(64).await?;
            service.exchange(request).await
        }
    }));
    let slow = stream::once(async {
        tokio::time::sleep(LIMIT * 2).await;
        data("late")
    });
    let upload = post(&url.await?, streamed(slow));
    let call = within("HTTP-20", "a slow upload", lab.client.request(upload)).await?;
    let response = accepted("HTTP-20", "a slow upload", call)?;
    ensure_eq!("HTTP-20", response.status.as_u16(), 200, "the answer to a slow upload");
    Ok(())
}

async fn timeout_headers_slowloris(world: World) -> CaseResult {
    let lab = world.open_with(|setup| setup.timeouts = limits(|limits| limits.head = Some(LIMIT))).await?;
    lab.needs(HttpFeature::Wire)?;
    let dribble = Script::new().every(
        LIMIT / 8,
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-padding: aaaaaaaaaaaaaaaaaaaa\r\n\r\nok",
    );
    let (url, log) = lab.script(dribble).await?;
    let call = ends_at("HTTP-20", "the head limit", LIMIT, lab.client.request(get(&url))).await?;
    judge("HTTP-20", &refused("HTTP-20", "a head that dribbles", call)?, HttpPhase::Head)?;
    within("HTTP-24", "the end of a connection whose call was cut", log.until_closed(0)).await
}

/// Numbers the attempts, from 0, so that a handler knows which one it has.
#[derive(Debug, Default)]
struct Numbering(AtomicUsize);

#[async_trait]
impl HttpInterceptor for Numbering {
    async fn intercept(&self, mut request: HttpRequest, next: HttpNext<'_>) -> Result<HttpResponse> {
        request.headers.insert("x-attempt", self.0.fetch_add(1, Ordering::SeqCst).into());
        next.run(request).await
    }
}

async fn timeout_attempt(world: World) -> CaseResult {
    let service = || {
        handler(|request| async move {
            match request.headers.get("x-attempt").map(HeaderValue::as_bytes) {
                Some(b"0") => std::future::pending().await,
                _ => Ok(answer(200, "ok")),
            }
        })
    };
    let moment = Duration::from_millis(1);
    let again = RetryPolicy::default().with_max_retries(1).with_backoff(moment, moment);
    for retry in [RetryPolicy::never(), again] {
        let retries = retry.max_retries;
        let lab = world
            .clone()
            .open_with(|setup| {
                setup.timeouts = limits(|limits| limits.attempt = Some(LIMIT));
                setup.around_attempt = vec![Arc::new(Numbering::default())];
                setup.retry = retry;
            })
            .await?;
        let url = lab.serve(service()).await?;
        let call = ends_at("HTTP-18", "the attempt limit", LIMIT, lab.client.request(get(&url))).await?;
        if retries == 0 {
            judge("HTTP-18", &refused("HTTP-18", "an attempt never answered", call)?, HttpPhase::Attempt)?;
        } else {
            // The first attempt is cut, the one after it is answered.
            let response = accepted("HTTP-18", "an attempt after one that was cut", call)?;
            ensure_eq!("HTTP-18", response.status.as_u16(), 200, "the second attempt");
        }
    }
    Ok(())
}

async fn timeout_of_request(world: World) -> CaseResult {
    let lab = world
        .open_with(|setup| setup.timeouts = limits(|limits| limits.total = Some(Duration::from_secs(600))))
        .await?;
    let url = lab.serve(silent()).await?;
    let mut request = get(&url);
    request.timeouts.total = Some(LIMIT);
    let call = ends_at("HTTP-18", "the request's own limit", LIMIT, lab.client.request(request)).await?;
    judge("HTTP-18", &refused("HTTP-18", "a head that never comes", call)?, HttpPhase::TotalHead)?;
    // A limit that is long ago over sends nothing.
    let (service, count) = numbered(|_, _| answer(200, ""));
    let url = lab.serve(service).await?;
    let mut request = get(&url);
    request.timeouts.total = Some(Duration::ZERO);
    let call = within("HTTP-18", "no time at all", lab.client.request(request)).await?;
    let error = refused("HTTP-18", "a call without any time", call)?;
    ensure_eq!("HTTP-18", (error.kind(), count.get()), (ErrorKind::TimedOut, 0), "a call without any time");
    Ok(())
}
