//! Cases about counters and configuration.

use std::time::Duration;

use futures_util::stream;
use onex_spi::ErrorKind;
use onex_spi::http::{HttpClientMetrics, HttpTimeouts, RetryPolicy};

use super::{Case, CaseResult, World, case};
use crate::http::handler::{data, handler, streamed};
use crate::http::stage::{
    accepted, answer, at, failed, get, numbered, post, refused, settles, whole, within,
};
use crate::net::Gate;
use crate::{ensure, ensure_eq};

pub(super) fn cases() -> Vec<Case<World>> {
    vec![
        case!(
            "http_client.metrics_add_up",
            ["HTTP", "HTTP-24"],
            ["ONEX-HTTP-06", "ONEX-HTTP-14"],
            metrics_add_up
        ),
        case!("http_client.configure_refuses", ["HTTP-23"], ["ONEX-HTTP-15"], configure_refuses),
        case!("http_client.configure_is_atomic", ["HTTP-23"], ["ONEX-HTTP-15"], configure_is_atomic),
    ]
}

fn sums(metrics: &HttpClientMetrics) -> [u64; 7] {
    let HttpClientMetrics { requests, successes, failures, timeouts, cancelled, retries, in_flight, .. } =
        *metrics;
    [requests, successes, failures, timeouts, cancelled, retries, in_flight]
}

async fn metrics_add_up(world: World) -> CaseResult {
    let lab = world
        .open_with(|setup| {
            let moment = Duration::from_millis(1);
            setup.retry = RetryPolicy::default().with_max_retries(2).with_backoff(moment, moment);
        })
        .await?;
    let gate = Gate::new();
    let held = gate.clone();
    let service = handler(move |mut request| {
        let held = held.clone();
        async move {
            let body = std::mem::take(&mut request.body).bytes(1 << 20).await?;
            match request.url.path() {
                "/busy" => return Ok(answer(503, "busy")),
                "/silent" => std::future::pending().await,
                "/held" => held.wait().await,
                _ => {}
            }
            let mut response = answer(200, "");
            response.body =
                if body.is_empty() { streamed(stream::iter([data("12"), data("345")])) } else { body.into() };
            Ok(response)
        }
    });
    let url = lab.serve(service).await?;
    let client = &*lab.client;
    ensure_eq!("HTTP", sums(&client.client_metrics()), [0; 7], "counters before the first call");

    let call = within("HTTP", "a call", client.request(post(&url, "0123456789"))).await?;
    whole("HTTP", accepted("HTTP", "a call", call)?.into_body()).await?;
    let call = within("HTTP", "a call", client.request(get(&url))).await?;
    whole("HTTP", accepted("HTTP", "a call", call)?.into_body()).await?;
    // Two retries; an answer is a success, whatever its status.
    let call = within("HTTP", "a call", client.request(get(&at(&url, "busy")?))).await?;
    whole("HTTP", accepted("HTTP", "a call", call)?.into_body()).await?;

    let slow = at(&url, "held")?;
    let mut timed = get(&at(&url, "silent")?);
    timed.timeouts = HttpTimeouts::default();
    timed.timeouts.total = Some(Duration::from_millis(50));
    refused("HTTP", "a call that is too slow", within("HTTP", "a call", client.request(timed)).await?)?;
    let came = gate.clone();
    let early = tokio::select! {
        call = client.request(post(&slow, "x")) => Some(call.map(|response| response.status)),
        reached = within("HTTP", "the handler", came.until_waiting(1)) => { reached?; None }
    };
    if let Some(call) = early {
        return Err(failed("HTTP", format!("the call ended before its handler: {call:?}")));
    }
    settles("HTTP-24", "dropped calls", 1, || client.client_metrics().cancelled).await?;
    let mut call = client.request(post(&slow, "x"));
    within("HTTP", "the handler", async {
        tokio::select! {
            _ = &mut call => {}
            () = came.until_waiting(2) => {}
        }
    })
    .await?;
    ensure_eq!("HTTP", client.client_metrics().in_flight, 1, "calls while one runs");
    gate.open();
    let response = accepted("HTTP", "a call", within("HTTP", "a call", call).await?)?;
    whole("HTTP", response.into_body()).await?;

    // requests, successes, failures, timeouts, cancelled, retries, in flight
    settles("HTTP", "counters at rest", [6, 4, 1, 1, 1, 2, 0], || sums(&client.client_metrics())).await?;
    let metrics = client.client_metrics();
    let ended = metrics.successes + metrics.failures + metrics.cancelled;
    ensure_eq!("HTTP", metrics.requests, ended, "requests = successes + failures + cancelled at rest");
    ensure!("HTTP", metrics.bytes_sent >= 10, "{} bytes sent", metrics.bytes_sent);
    // 10 + 5 + the last of three times "busy" + 1, the answers of failed attempts if they were read.
    ensure!("HTTP", metrics.bytes_received >= 20, "{} bytes received", metrics.bytes_received);
    let latency = metrics.latency;
    ensure!(
        "HTTP",
        latency.p50 <= latency.p95 && latency.p95 <= latency.p99,
        "percentiles out of order: {latency:?}"
    );
    ensure!("HTTP", latency.p99.is_some(), "no latency after six calls");
    let host = format!("{}:{}", url.host(), url.port());
    let of_host = metrics.per_host.get(&host).copied().unwrap_or_default();
    ensure_eq!("HTTP", (of_host.requests, of_host.failures), (6, 1), "requests and failures of {host}");
    ensure_eq!("HTTP", metrics.per_host.len(), 1, "hosts");
    Ok(())
}

async fn configure_refuses(world: World) -> CaseResult {
    let moment = Duration::from_millis(1);
    let good = RetryPolicy::default().with_max_retries(1).with_backoff(moment, moment);
    let lab = world.open_with(|setup| setup.retry = good).await?;
    let (service, count) = numbered(|_, _| answer(503, ""));
    let url = lab.serve(service).await?;
    type Spoil = fn(&mut RetryPolicy);
    let bad: [(&str, Spoil); 5] = [
        ("max_retries", |policy| policy.max_retries = 101),
        ("multiplier", |policy| policy.multiplier = f64::NAN),
        ("multiplier", |policy| policy.multiplier = 0.5),
        ("initial_backoff", |policy| policy.initial_backoff = Duration::from_secs(3600)),
        ("retry_on", |policy| policy.retry_on = vec![200]),
    ];
    for (index, (field, spoil)) in bad.into_iter().enumerate() {
        let mut policy = RetryPolicy::default();
        spoil(&mut policy);
        let error = refused("HTTP-23", field, lab.client.configure_retry_policy(policy))?;
        ensure_eq!("HTTP-23", error.kind(), ErrorKind::InvalidInput, "a bad {field}: {error}");
        ensure!("HTTP-23", error.to_string().contains(field), "the field {field} is not named: {error}");
        accepted("HTTP-23", "a call", within("HTTP-23", "a call", lab.client.request(get(&url))).await?)?;
        ensure_eq!("HTTP-23", count.get(), 2 * (index + 1), "attempts under the policy that stays");
    }
    Ok(())
}

async fn configure_is_atomic(world: World) -> CaseResult {
    let moment = Duration::from_millis(1);
    let soon = |retries| RetryPolicy::default().with_max_retries(retries).with_backoff(moment, moment);
    let lab = world.open_with(|setup| setup.retry = soon(2)).await?;
    let gate = Gate::new();
    let held = gate.clone();
    let (service, count) = numbered(|_, _| answer(503, ""));
    let url = lab.serve(handler(move |request| {
        let (held, service) = (held.clone(), service.clone());
        async move {
            held.wait().await;
            service.exchange(request).await
        }
    }));
    let url = url.await?;
    let mut running = lab.client.request(get(&url));
    let early = within("HTTP-23", "the handler", async {
        tokio::select! {
            call = &mut running => Some(call.map(|response| response.status)),
            () = gate.until_waiting(1) => None,
        }
    })
    .await?;
    ensure!("HTTP-23", early.is_none(), "the call ended before its handler: {early:?}");
    accepted("HTTP-23", "a new policy", lab.client.configure_retry_policy(soon(0)))?;
    gate.open();
    accepted("HTTP-23", "a call", within("HTTP-23", "a call", running).await?)?;
    ensure_eq!("HTTP-23", count.get(), 3, "attempts of a call that began under the old policy");
    accepted("HTTP-23", "a call", within("HTTP-23", "a call", lab.client.request(get(&url))).await?)?;
    ensure_eq!("HTTP-23", count.get(), 4, "attempts in all after a call under the new policy");
    Ok(())
}
