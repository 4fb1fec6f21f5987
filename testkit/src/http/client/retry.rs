//! Cases about sending again: when, how often, and what is never sent twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use ::http::{HeaderValue, Method};
use async_trait::async_trait;
use futures_util::stream;
use onex_spi::http::{
    HttpBody, HttpInterceptor, HttpNext, HttpReason, HttpRequest, HttpResponse, RetryBudget, RetryPolicy,
};
use onex_spi::{Effect, Error, ErrorKind, Result};
use tokio::sync::mpsc;

use super::{Case, CaseResult, World, case};
use crate::http::handler::{data, handler, streamed};
use crate::http::stage::{
    accepted, answer, failed, get, numbered, post, reason, refused, request, whole, within,
};
use crate::net::{Answer, Script};
use crate::{ensure, ensure_eq};

pub(super) fn cases() -> Vec<Case<World>> {
    vec![
        case!("http_client.retry_policy", ["HTTP-23"], ["ONEX-HTTP-04", "ONEX-HTTP-21"], retry_policy),
        case!("http_client.retry_after", ["HTTP-23"], ["ONEX-HTTP-21"], retry_after),
        case!("http_client.retry_budget", ["HTTP-23"], ["ONEX-HTTP-21"], retry_budget),
        case!("http_client.post_not_repeated", ["HTTP-23"], ["ONEX-HTTP-21"], post_not_repeated),
        case!("http_client.one_shot_not_repeated", ["HTTP-42"], ["ONEX-HTTP-22"], one_shot_not_repeated),
        case!("http_client.unsent_is_repeated", ["HTTP-23"], ["ONEX-HTTP-21"], unsent_is_repeated),
        case!("http_client.stale_pool_race", ["HTTP-22"], ["ONEX-HTTP-02"], stale_pool_race),
    ]
}

const SECOND: Duration = Duration::from_secs(1);

/// Retries at once, as often as is said.
fn soon(retries: u32) -> RetryPolicy {
    let moment = Duration::from_millis(1);
    RetryPolicy::default().with_max_retries(retries).with_backoff(moment, moment)
}

async fn retry_policy(world: World) -> CaseResult {
    let lab = world.open_with(|setup| setup.retry = soon(2)).await?;
    for (failures, status, arrived) in [(0, 200, 1), (1, 200, 2), (2, 200, 3), (3, 503, 3)] {
        let (service, count) = numbered(move |number, _| match number < failures {
            true => answer(503, "busy"),
            false => answer(200, "ok"),
        });
        let url = lab.serve(service).await?;
        let call = within("HTTP-23", "a call", lab.client.request(get(&url))).await?;
        let response = accepted("HTTP-23", "a call", call)?;
        let seen = (response.status.as_u16(), count.get());
        ensure_eq!(
            "HTTP-23",
            seen,
            (status, arrived),
            "the answer and the attempts after {failures} failures"
        );
        let body = whole("HTTP-23", response.into_body()).await?;
        ensure_eq!("HTTP-23", body, if status == 200 { "ok" } else { "busy" }, "the last answer, as it came");
    }
    // The caller's list of statuses replaces the default one.
    lab.client.configure_retry_policy({
        let mut policy = soon(2);
        policy.retry_on = vec![404];
        policy
    })?;
    for (status, arrived) in [(503, 1), (404, 3), (400, 1)] {
        let (service, count) = numbered(move |_, _| answer(status, ""));
        let url = lab.serve(service).await?;
        let call = within("HTTP-23", "a call", lab.client.request(get(&url))).await?;
        ensure_eq!("HTTP-23", accepted("HTTP-23", "a call", call)?.status.as_u16(), status, "the status");
        ensure_eq!("HTTP-23", count.get(), arrived, "attempts on {status} where 404 alone is retried");
    }
    Ok(())
}

async fn retry_after(world: World) -> CaseResult {
    let lab = world
        .open_with(|setup| {
            setup.retry =
                RetryPolicy::default().with_backoff(Duration::from_millis(1), Duration::from_secs(20));
            setup.retry.multiplier = 1.0;
        })
        .await?;
    // A date has whole seconds: two ahead are more than one away.
    type Value = fn() -> String;
    let floors: [(&str, Value); 2] = [
        ("one second", || "1".to_owned()),
        ("a date", || httpdate::fmt_http_date(SystemTime::now() + 2 * SECOND)),
    ];
    for (what, value) in floors {
        let (service, count) = numbered(move |number, _| {
            let mut response = answer(if number == 0 { 503 } else { 200 }, "");
            if let Ok(value) = HeaderValue::try_from(value()) {
                response.headers.insert("retry-after", value);
            }
            response
        });
        let url = lab.serve(service).await?;
        let begin = Instant::now();
        let call = within("HTTP-23", what, lab.client.request(get(&url))).await?;
        let (status, took) = (accepted("HTTP-23", what, call)?.status.as_u16(), begin.elapsed());
        ensure_eq!("HTTP-23", (status, count.get()), (200, 2), "the answer and the attempts after {what}");
        ensure!("HTTP-23", took >= SECOND, "Retry-After of {what} was answered after {took:?}");
    }
    // What the server asks for is longer than the policy waits: its answer is handed out, at once.
    for value in ["21".to_owned(), httpdate::fmt_http_date(SystemTime::now() + 3600 * SECOND)] {
        let value = HeaderValue::try_from(value).map_err(|error| failed("", error.to_string()))?;
        let (service, count) = numbered(move |_, _| {
            let mut response = answer(503, "busy");
            response.headers.insert("retry-after", value.clone());
            response
        });
        let url = lab.serve(service).await?;
        let begin = Instant::now();
        let call = within("HTTP-23", "a wait that is too long", lab.client.request(get(&url))).await?;
        let response = accepted("HTTP-23", "a wait that is too long", call)?;
        ensure_eq!(
            "HTTP-23",
            (response.status.as_u16(), count.get()),
            (503, 1),
            "the answer and the attempts"
        );
        ensure!("HTTP-23", begin.elapsed() < Duration::from_secs(15), "the wait was begun all the same");
    }
    Ok(())
}

async fn retry_budget(world: World) -> CaseResult {
    let lab =
        world.open_with(|setup| setup.retry = soon(10).with_budget(Some(RetryBudget::new(3, 0.0)))).await?;
    let (service, count) = numbered(|_, _| answer(503, "busy"));
    let url = lab.serve(service).await?;
    // Three tokens: the first call takes them all and ends without a fourth.
    for arrived in [4, 5, 6] {
        let call = within("HTTP-23", "a call", lab.client.request(get(&url))).await?;
        ensure_eq!("HTTP-23", accepted("HTTP-23", "a call", call)?.status.as_u16(), 503, "the answer");
        ensure_eq!("HTTP-23", count.get(), arrived, "attempts in all with a budget of three");
    }
    // Another host has a budget of its own.
    let (service, count) = numbered(|_, _| answer(503, "busy"));
    let other = lab.serve(service).await?;
    accepted("HTTP-23", "a call", within("HTTP-23", "a call", lab.client.request(get(&other))).await?)?;
    ensure_eq!("HTTP-23", count.get(), 4, "attempts at another host");
    Ok(())
}

async fn post_not_repeated(world: World) -> CaseResult {
    let lab = world.open_with(|setup| setup.retry = soon(2)).await?;
    let idempotent = [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS];
    for method in idempotent.iter().chain(&[Method::POST, Method::PATCH]) {
        let (service, count) = numbered(|_, _| answer(503, ""));
        let url = lab.serve(service).await?;
        let call = within("HTTP-23", "a call", lab.client.request(request(method.clone(), &url))).await?;
        accepted("HTTP-23", method.as_str(), call)?;
        let due = if idempotent.contains(method) { 3 } else { 1 };
        ensure_eq!("HTTP-23", count.get(), due, "attempts of {method} (RFC 9110 section 9.2.2)");
    }
    // Asked for, a POST is repeated, with the same bytes.
    lab.client.configure_retry_policy(soon(2).with_unsafe_methods())?;
    let (seen, mut bodies) = mpsc::unbounded_channel();
    let service = handler(move |mut request| {
        let seen = seen.clone();
        async move {
            // The receiver lives as long as the case.
            let _ = seen.send(std::mem::take(&mut request.body).bytes(1 << 20).await?);
            Ok(answer(503, ""))
        }
    });
    let url = lab.serve(service).await?;
    let replayable =
        HttpBody::replayable(|| streamed(stream::iter([data("again "), data("and again")])), Some(15));
    for body in [HttpBody::from("again and again"), replayable] {
        let call = within("HTTP-23", "a call", lab.client.request(post(&url, body))).await?;
        accepted("HTTP-23", "a repeated POST", call)?;
        for _ in 0..3 {
            let body = bodies.try_recv().map_err(|_| failed("HTTP-23", "an attempt is missing".into()))?;
            ensure_eq!("HTTP-23", body, "again and again", "the body of each attempt");
        }
        ensure!("HTTP-23", bodies.try_recv().is_err(), "there were more than three attempts");
    }
    Ok(())
}

async fn one_shot_not_repeated(world: World) -> CaseResult {
    let lab = world.open_with(|setup| setup.retry = soon(3).with_unsafe_methods()).await?;
    for method in [Method::PUT, Method::POST] {
        let service_bodies = Arc::new(AtomicUsize::new(0));
        let counted = service_bodies.clone();
        let service = handler(move |mut request| {
            let counted = counted.clone();
            async move {
                let body = std::mem::take(&mut request.body).bytes(64).await?;
                counted.fetch_add(1, Ordering::SeqCst);
                if body != "only once" {
                    return Ok(answer(400, "another body"));
                }
                Ok(answer(503, "busy"))
            }
        });
        let url = lab.serve(service).await?;
        let mut asked = request(method.clone(), &url);
        asked.body = streamed(stream::iter([data("only "), data("once")]));
        let call = within("HTTP-42", "a call", lab.client.request(asked)).await?;
        let response = accepted("HTTP-42", "a call", call)?;
        ensure_eq!("HTTP-42", response.status.as_u16(), 503, "the one answer to a one-shot {method}");
        ensure_eq!(
            "HTTP-42",
            service_bodies.load(Ordering::SeqCst),
            1,
            "how often a one-shot {method} arrived"
        );
    }
    Ok(())
}

/// Fails the first attempt as one that certainly was not sent, or that may have been.
#[derive(Debug)]
struct FailsFirst {
    effect: Effect,
    failed: AtomicBool,
}

#[async_trait]
impl HttpInterceptor for FailsFirst {
    async fn intercept(&self, request: HttpRequest, next: HttpNext<'_>) -> Result<HttpResponse> {
        if self.failed.swap(true, Ordering::SeqCst) {
            return next.run(request).await;
        }
        Err(Error::new(ErrorKind::Unavailable, "case.attempt", "no connection").with_effect(self.effect))
    }
}

async fn unsent_is_repeated(world: World) -> CaseResult {
    for (effect, repeated) in [(Effect::NotApplied, true), (Effect::Unknown, false)] {
        let lab = world
            .clone()
            .open_with(|setup| {
                setup.retry = soon(1);
                setup.around_attempt = vec![Arc::new(FailsFirst { effect, failed: AtomicBool::new(false) })];
            })
            .await?;
        let (service, count) = numbered(|_, _| answer(200, ""));
        let url = lab.serve(service).await?;
        let call = within("HTTP-23", "a POST", lab.client.request(post(&url, "x"))).await?;
        ensure_eq!("HTTP-23", call.is_ok(), repeated, "whether a POST with effect {effect:?} is repeated");
        ensure_eq!("HTTP-23", count.get(), usize::from(repeated), "how often it arrived");
    }
    Ok(())
}

async fn stale_pool_race(world: World) -> CaseResult {
    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let lab = world.open_with(|setup| setup.retry = soon(1)).await?;
    for (method, arrived) in [(Method::GET, 3), (Method::POST, 2)] {
        // The second request is read and its connection ends without a byte.
        let script = Answer::scripted(|exchange| match exchange.number {
            1 => Script::new().close(),
            _ => Script::new().send(OK),
        });
        let (url, log) = lab.script(script).await?;
        let call = within("HTTP-22", "a first call", lab.client.request(get(&url))).await?;
        whole("HTTP-22", accepted("HTTP-22", "a first call", call)?.into_body()).await?;
        let call = within("HTTP-22", "a call", lab.client.request(request(method.clone(), &url))).await?;
        if method == Method::GET {
            let response = accepted("HTTP-22", "a GET whose connection was lost", call)?;
            ensure_eq!("HTTP-22", response.status.as_u16(), 200, "the second attempt");
        } else {
            let error = refused("HTTP-22", "a POST whose connection was lost", call)?;
            let told = (error.kind(), error.effect(), reason(&error));
            let due = (ErrorKind::Unavailable, Effect::Unknown, Some(HttpReason::ConnectionLost));
            ensure_eq!("HTTP-22", told, due, "a POST whose connection was lost: {error:#}");
        }
        ensure_eq!("HTTP-22", log.requests().len(), arrived, "requests in all with a lost {method}");
    }
    Ok(())
}
