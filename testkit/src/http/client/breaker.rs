//! Cases about the breaker: each attempt asks, an open circuit answers for the server.

use std::sync::Arc;
use std::time::Duration;

use onex_spi::breaker::{CircuitBreaker, CircuitBreakerConfig, CircuitState};
use onex_spi::http::{BreakerBinding, HttpReason, RetryPolicy};
use onex_spi::{Effect, ErrorKind};

use super::{Case, CaseResult, Lab, World, case};
use crate::breaker::BreakerSetup;
use crate::breaker::reference::ReferenceBreaker;
use crate::clock::ManualClock;
use crate::http::handler::handler;
use crate::http::stage::{accepted, answer, failed, get, numbered, reason, refused, within};
use crate::net::Gate;
use crate::{ensure, ensure_eq};

pub(super) fn cases() -> Vec<Case<World>> {
    vec![
        case!("http_client.breaker_opens", ["HTTP"], ["ONEX-HTTP-05"], breaker_opens),
        case!("http_client.breaker_asks_each_attempt", ["HTTP"], ["ONEX-HTTP-05"], breaker_asks_each_attempt),
        case!("http_client.breaker_per_host", ["HTTP"], ["ONEX-HTTP-05", "ONEX-HTTP-16"], breaker_per_host),
        case!("http_client.breaker_cancelled", ["HTTP-24"], ["ONEX-HTTP-05"], breaker_cancelled),
    ]
}

const OPEN: Duration = Duration::from_secs(10);

/// A breaker that opens after two failures, for ten seconds of a clock that the case moves.
fn breaker() -> (Arc<dyn CircuitBreaker>, ManualClock) {
    let mut setup = BreakerSetup::new(7);
    setup.defaults =
        CircuitBreakerConfig::new().with_failure_threshold(2).with_success_threshold(1).with_open_time(OPEN);
    let clock = setup.manual.clone();
    (Arc::new(ReferenceBreaker::new(setup)), clock)
}

async fn status(lab: &Lab, url: &onex_spi::http::HttpUrl) -> Result<u16, crate::suite::Stop> {
    let call = within("HTTP", "a call", lab.client.request(get(url))).await?;
    Ok(accepted("HTTP", "a call", call)?.status.as_u16())
}

async fn turned_away(lab: &Lab, url: &onex_spi::http::HttpUrl) -> CaseResult {
    let call = within("HTTP", "a call", lab.client.request(get(url))).await?;
    let error = refused("HTTP", "a call on an open circuit", call)?;
    let told = (error.kind(), error.effect(), reason(&error));
    let due = (ErrorKind::Rejected, Effect::NotApplied, Some(HttpReason::CircuitOpen));
    ensure_eq!("HTTP", told, due, "a call on an open circuit: {error:#}");
    ensure_eq!("HTTP", error.retry_after(), Some(OPEN), "when to come back");
    Ok(())
}

async fn breaker_opens(world: World) -> CaseResult {
    let (breaker, clock) = breaker();
    let binding = BreakerBinding::named(breaker.clone(), "orders");
    let lab = world.open_with(|setup| setup.breaker = Some(binding)).await?;
    let (service, count) = numbered(|number, _| answer(if number < 2 { 503 } else { 200 }, ""));
    let url = lab.serve(service).await?;
    for due in [503, 503] {
        ensure_eq!("HTTP", status(&lab, &url).await?, due, "calls before the circuit opens");
    }
    turned_away(&lab, &url).await?;
    ensure_eq!("HTTP", count.get(), 2, "requests that arrived; an open circuit touches nothing");
    ensure_eq!("HTTP", breaker.circuit_state("orders")?.state, CircuitState::Open, "the state");
    clock.advance(OPEN);
    ensure_eq!("HTTP", status(&lab, &url).await?, 200, "the probe");
    ensure_eq!(
        "HTTP",
        breaker.circuit_state("orders")?.state,
        CircuitState::Closed,
        "the state after the probe"
    );
    let metrics = breaker.circuit_metrics("orders")?;
    let counted =
        (metrics.admitted_count, metrics.success_count, metrics.failure_count, metrics.rejected_count);
    ensure_eq!("HTTP", counted, (3, 1, 2, 1), "admitted, succeeded, failed, rejected");
    Ok(())
}

async fn breaker_asks_each_attempt(world: World) -> CaseResult {
    let (breaker, _) = breaker();
    let binding = BreakerBinding::named(breaker.clone(), "orders");
    let lab = world
        .open_with(|setup| {
            setup.breaker = Some(binding);
            // Shorter than the circuit stays open: the open circuit ends the retries.
            setup.retry = RetryPolicy::default()
                .with_max_retries(5)
                .with_backoff(Duration::from_millis(1), Duration::from_secs(1));
        })
        .await?;
    let (service, count) = numbered(|_, _| answer(503, ""));
    let url = lab.serve(service).await?;
    turned_away(&lab, &url).await?;
    ensure_eq!("HTTP", count.get(), 2, "attempts that arrived before the circuit opened");
    let metrics = breaker.circuit_metrics("orders")?;
    ensure_eq!(
        "HTTP",
        (metrics.admitted_count, metrics.rejected_count),
        (2, 1),
        "admitted and rejected attempts"
    );
    Ok(())
}

async fn breaker_per_host(world: World) -> CaseResult {
    let (breaker, _) = breaker();
    let binding = BreakerBinding::per_host(breaker.clone());
    let lab = world.open_with(|setup| setup.breaker = Some(binding)).await?;
    let (failing, _) = numbered(|_, _| answer(503, ""));
    let (good, _) = numbered(|_, _| answer(200, ""));
    let (failing, good) = (lab.serve(failing).await?, lab.serve(good).await?);
    for _ in 0..2 {
        ensure_eq!("HTTP", status(&lab, &failing).await?, 503, "a failing host");
    }
    turned_away(&lab, &failing).await?;
    ensure_eq!("HTTP", status(&lab, &good).await?, 200, "another host");
    ensure_eq!("HTTP", breaker.all_circuit_states().len(), 2, "circuits of two hosts");

    // A config that the breaker refuses leaves the binding as it is; none at all asks nobody.
    let zero = CircuitBreakerConfig::new().with_failure_threshold(0);
    let bad = BreakerBinding::named(breaker.clone(), "bad").with_config(zero);
    let error = refused("HTTP", "a bad config", lab.client.configure_circuit_breaker(Some(bad)))?;
    ensure_eq!("HTTP", error.kind(), ErrorKind::InvalidInput, "a bad config: {error}");
    ensure!("HTTP", error.to_string().contains("failure_threshold"), "the field is not named: {error}");
    turned_away(&lab, &failing).await?;
    let config = CircuitBreakerConfig::new().with_failure_threshold(1).with_open_time(OPEN);
    let strict = BreakerBinding::named(breaker.clone(), "strict").with_config(config);
    accepted("HTTP", "a good config", lab.client.configure_circuit_breaker(Some(strict)))?;
    ensure_eq!("HTTP", status(&lab, &failing).await?, 503, "the first call under a strict circuit");
    turned_away(&lab, &failing).await?;
    accepted("HTTP", "no breaker", lab.client.configure_circuit_breaker(None))?;
    ensure_eq!("HTTP", status(&lab, &failing).await?, 503, "a call that asks no circuit");
    Ok(())
}

async fn breaker_cancelled(world: World) -> CaseResult {
    let (breaker, _) = breaker();
    let binding = BreakerBinding::named(breaker.clone(), "orders");
    let lab = world.open_with(|setup| setup.breaker = Some(binding)).await?;
    let gate = Gate::new();
    let held = gate.clone();
    let url = lab.serve(handler(move |_| {
        let held = held.clone();
        async move {
            held.wait().await;
            Ok(answer(200, ""))
        }
    }));
    let url = url.await?;
    for round in 1..=3 {
        let early = tokio::select! {
            call = lab.client.request(get(&url)) => Some(call.map(|response| response.status)),
            reached = within("HTTP-24", "the handler", gate.until_waiting(round)) => { reached?; None }
        };
        if let Some(call) = early {
            return Err(failed("HTTP-24", format!("the call ended before its handler: {call:?}")));
        }
    }
    let metrics = breaker.circuit_metrics("orders")?;
    let counted = (metrics.cancelled_count, metrics.failure_count, metrics.status.state);
    ensure_eq!(
        "HTTP-24",
        counted,
        (3, 0, CircuitState::Closed),
        "dropped calls are neither success nor failure"
    );
    Ok(())
}
