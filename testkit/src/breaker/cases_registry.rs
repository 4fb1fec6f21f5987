//! Circuits by name: independent, bounded, closed; calls by name; and a service behind one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use onex_spi::breaker::{CircuitBreakerExt, CircuitExt, CircuitState, ExecuteError, Outcome};
use onex_spi::{Effect, Error, ErrorKind, Health};

use super::world::{F, NAME, S, T, World};
use crate::suite::{Case, CaseResult};
use crate::{ensure, ensure_eq};

pub(super) const CASES: &[Case<World>] = &[
    Case::new("breaker.circuits_are_independent", &["R13"], &["ONEX-CB-21"], |world| {
        Box::pin(circuits_are_independent(world))
    }),
    Case::new(
        "breaker.call_by_name_makes_the_circuit",
        &["R12"],
        &["ONEX-CB-07", "ONEX-CB-18", "ONEX-CB-23"],
        |world| Box::pin(call_by_name_makes_the_circuit(world)),
    ),
    Case::new("breaker.fallback_is_outside_the_accounting", &["R10"], &["ONEX-CB-13"], |world| {
        Box::pin(fallback_is_outside_the_accounting(world))
    }),
    Case::new("breaker.full_is_refused_unprotected_never", &["R15"], &["ONEX-CB-18"], |world| {
        Box::pin(full_is_refused_unprotected_never(world))
    }),
    Case::new("breaker.service_behind_a_circuit", &["R11"], &["ONEX-CB-05", "ONEX-CB-06"], |world| {
        Box::pin(service_behind_a_circuit(world))
    }),
    Case::new("breaker.closed_makes_no_circuit", &["Lifecycle"], &["ONEX-CB-01"], |world| {
        Box::pin(closed_makes_no_circuit(world))
    }),
];

/// C18
async fn circuits_are_independent(world: World) -> CaseResult {
    let bench = world.bench().await?;
    let longest = "n".repeat(bench.breaker.capabilities().limits.name_bytes);
    // The last two are one word in two Unicode forms: names are bytes.
    let names = ["a", "b", "", "A", &longest, "caf\u{e9}", "cafe\u{301}"];
    for name in names {
        bench.on(name)?.succeed(1);
    }
    bench.on("a")?.trip()?;
    for name in names {
        let state = bench.breaker.circuit_state(name)?.state;
        let due = if name == "a" { CircuitState::Open } else { CircuitState::Closed };
        ensure_eq!("R13", state, due, "{:?} after `a` was tripped", name.get(..8).unwrap_or(name));
        let counted = bench.breaker.circuit_metrics(name)?.success_count;
        ensure_eq!("R13", counted, 1, "calls of {:?}", name.get(..8).unwrap_or(name));
    }
    let all: BTreeSet<_> = bench.breaker.all_circuit_states().into_keys().collect();
    let used = names.into_iter().chain([NAME]).map(Arc::from).collect::<BTreeSet<Arc<str>>>();
    ensure!("R13", all == used, "{} circuits are listed and {} are used", all.len(), used.len());
    let long = bench.breaker.circuit(&format!("{longest}n")).map_err(|error| error.kind()).err();
    ensure_eq!("R13", long, Some(ErrorKind::InvalidInput), "a name that is one byte too long");
    Ok(())
}

async fn call_by_name_makes_the_circuit(world: World) -> CaseResult {
    let bench = world.bench().await?;
    let call = |result: Result<u32, Error>| {
        bench.breaker.execute_with_circuit_breaker("by name", None, || async { result })
    };
    ensure!("R12", bench.breaker.find("by name").is_none(), "a circuit is there before its first call");
    ensure_eq!("R12", call(Ok(7)).await.ok(), Some(7), "the operation's value");
    let down = || Error::new(ErrorKind::Unavailable, "test.call", "down");
    for failure in 1..=F {
        let result = call(Err(down())).await;
        let own = matches!(&result, Err(ExecuteError::Operation(error)) if error.message() == "down");
        ensure!("R12", own, "failure {failure}: {result:?}");
    }
    let state = bench.breaker.circuit_state("by name")?.state;
    ensure_eq!("R12", state, CircuitState::Open, "after {F} failures, as the defaults say");
    // By name or by handle: the same circuit.
    let same = bench.on("by name")?;
    ensure_eq!("R12", same.metrics().failure_count, u64::from(F), "failures seen through a handle");
    let result = call(Ok(7)).await.map_err(Error::from).map_err(|error| error.kind());
    ensure_eq!("R12", result, Err(ErrorKind::Rejected), "the next call by name");
    Ok(())
}

async fn fallback_is_outside_the_accounting(world: World) -> CaseResult {
    let bench = world.bench().await?;
    let call = |result: Result<u32, Error>| {
        let fallback = |error: ExecuteError<Error>| match error {
            ExecuteError::Rejected { .. } => 1,
            ExecuteError::TimedOut => 2,
            ExecuteError::Operation(_) => 3,
        };
        bench.breaker.execute_with_fallback(NAME, None, || async { result }, fallback)
    };
    ensure_eq!("R10", call(Ok(7)).await, 7, "no fallback for a value");
    for failure in 1..=F {
        let down = Error::new(ErrorKind::Unavailable, "test.call", "down");
        ensure_eq!("R10", call(Err(down)).await, 3, "the fallback of failure {failure}");
    }
    ensure_eq!("R10", call(Ok(7)).await, 1, "the fallback of a rejection");
    let metrics = bench.metrics();
    let counts = (metrics.success_count, metrics.failure_count, metrics.rejected_count);
    ensure_eq!("R10", counts, (1, u64::from(F), 1), "succeeded, failed, rejected");
    Ok(())
}

async fn full_is_refused_unprotected_never(world: World) -> CaseResult {
    let bench = world
        .bench_with(|mut setup| {
            setup.max_circuits = 4;
            setup
        })
        .await?;
    let most = bench.breaker.capabilities().limits.circuits;
    let mut held = Vec::new();
    for number in 1..most {
        held.push(bench.on(&number.to_string())?);
    }
    let touched = AtomicUsize::new(0);
    let operation = || async {
        touched.fetch_add(1, Ordering::Relaxed);
        Ok::<(), Error>(())
    };
    let refused = bench.breaker.execute_with_circuit_breaker("one too many", None, operation).await;
    let error = match refused {
        Err(ExecuteError::Operation(error)) => error,
        other => {
            ensure!("R15", false, "beyond {most} circuits a call gave {other:?}");
            return Ok(());
        }
    };
    let seen = (error.kind(), error.effect());
    ensure_eq!("R15", seen, (ErrorKind::ResourceExhausted, Effect::NotApplied), "beyond {most} circuits");
    ensure_eq!("R15", touched.load(Ordering::Relaxed), 0, "operations that ran unprotected");
    let configured = bench.breaker.configure_circuit_breaker("one too many", bench_defaults());
    let kind = configured.map_err(|error| error.kind());
    ensure_eq!("R15", kind, Err(ErrorKind::ResourceExhausted), "a configuration beyond the bound");
    ensure_eq!("R15", bench.breaker.all_circuit_states().len(), most, "circuits");
    ensure_eq!("R15", bench.succeed(1), 1, "calls through a circuit that is there");
    Ok(())
}

fn bench_defaults() -> onex_spi::breaker::CircuitBreakerConfig {
    super::BreakerSetup::new(0).defaults
}

/// A service that answers with statuses, as an HTTP client sees one.
async fn service_behind_a_circuit(world: World) -> CaseResult {
    let bench = world.bench().await?;
    let sent = AtomicUsize::new(0);
    let counter = &sent;
    let send = |status: http::StatusCode| {
        let request = move || async move {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Error>(status)
        };
        // What a caller may call a failure: the peer's fault, not the request's.
        bench.circuit.call_classified(None, request, |response| match response {
            Ok(status) if status.is_server_error() => Outcome::Failure,
            Ok(status) if status.is_client_error() => Outcome::Ignored,
            Ok(_) => Outcome::Success,
            Err(_) => Outcome::Failure,
        })
    };
    for status in [http::StatusCode::OK, http::StatusCode::NOT_FOUND] {
        for _ in 0..2 * F {
            ensure_eq!("R11", send(status).await.ok(), Some(status), "a response that is no failure");
        }
    }
    ensure_eq!("R11", bench.state(), CircuitState::Closed, "after 404s");
    let down = http::StatusCode::SERVICE_UNAVAILABLE;
    for _ in 0..F {
        ensure_eq!("R0", send(down).await.ok(), Some(down), "a 503 reaches the caller");
    }
    let before = sent.load(Ordering::Relaxed);
    let rejected = send(http::StatusCode::OK).await.map_err(Error::from);
    let error =
        rejected.err().map(|error| (error.kind(), error.is_retryable(false), error.retry_after().is_some()));
    ensure_eq!("R10", error, Some((ErrorKind::Rejected, true, true)), "a request while open");
    ensure_eq!("R10", sent.load(Ordering::Relaxed), before, "requests that were sent");
    bench.pass(T + bench.grain())?;
    for probe in 1..=S {
        ensure_eq!("R0", send(http::StatusCode::OK).await.ok(), Some(http::StatusCode::OK), "a probe");
        if probe < S {
            bench.still_half_open()?;
        }
    }
    ensure_eq!("R0", bench.state(), CircuitState::Closed, "after {S} good responses");
    Ok(())
}

async fn closed_makes_no_circuit(world: World) -> CaseResult {
    let bench = world.bench().await?;
    ensure_eq!("Lifecycle", bench.breaker.health().await, Health::Healthy, "health");
    let held = bench.held()?;
    bench.breaker.close(Duration::from_secs(1)).await?;
    bench.breaker.close(Duration::from_secs(1)).await?;
    let unhealthy = matches!(bench.breaker.health().await, Health::Unhealthy(_));
    ensure!("Lifecycle", unhealthy, "a closed breaker says that it is healthy");
    for name in ["new", NAME] {
        let kind = bench.breaker.circuit(name).map_err(|error| error.kind()).err();
        ensure_eq!("Lifecycle", kind, Some(ErrorKind::Closed), "the circuit `{name}` of a closed breaker");
    }
    let configured = bench.breaker.configure_circuit_breaker("new", bench_defaults());
    let kind = configured.map_err(|error| error.kind());
    ensure_eq!("Lifecycle", kind, Err(ErrorKind::Closed), "a configuration");
    // A circuit that is held goes on deciding, so that work on its way ends as it began.
    held.failure();
    bench.fail(F - 1);
    ensure_eq!("Lifecycle", bench.state(), CircuitState::Open, "a held circuit after {F} failures");
    ensure_eq!("Lifecycle", bench.succeed(1), 0, "calls that it lets through");
    Ok(())
}
