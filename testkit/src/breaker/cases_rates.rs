//! Rates over windows: what opens, what a window holds, what a slow call is.

use std::time::Duration;

use onex_spi::ErrorKind;
use onex_spi::breaker::{
    BreakerFeature, CircuitBreakerConfig, CircuitState, Outcome, RatePolicy, TransitionCause, TripPolicy,
    Window, WindowCounts,
};

use super::world::{Bench, NAME, S, T, World, config};
use crate::suite::{Case, CaseResult, Stop, needs};
use crate::{ensure, ensure_eq};

pub(super) const CASES: &[Case<World>] = &[
    Case::new("breaker.failure_rate_over_calls", &["R11", "R18"], &["ONEX-CB-02"], |world| {
        Box::pin(failure_rate_over_calls(world))
    }),
    Case::new("breaker.failure_rate_over_time", &["R18"], &["ONEX-CB-02"], |world| {
        Box::pin(failure_rate_over_time(world))
    }),
    Case::new("breaker.minimum_calls_come_first", &["R18"], &["ONEX-CB-02"], |world| {
        Box::pin(minimum_calls_come_first(world))
    }),
    Case::new("breaker.slow_calls_open", &["R18"], &["ONEX-CB-05"], |world| Box::pin(slow_calls_open(world))),
    Case::new("breaker.window_is_of_its_era", &["R2", "R9", "R18"], &["ONEX-CB-10"], |world| {
        Box::pin(window_is_of_its_era(world))
    }),
    Case::new("breaker.rates_change_and_counts_stay", &["R12", "R18"], &["ONEX-CB-17"], |world| {
        Box::pin(rates_change_and_counts_stay(world))
    }),
    Case::new("breaker.bad_rates_are_refused", &["R12"], &["ONEX-CB-17"], |world| {
        Box::pin(bad_rates_are_refused(world))
    }),
];

const SECOND: Duration = Duration::from_secs(1);
/// The window of time: each of its tenths is a second.
const WINDOW: Duration = Duration::from_secs(10);

fn half_of(window: Window) -> RatePolicy {
    RatePolicy::new(window).with_failure_rate(0.5).with_minimum_calls(4)
}

fn rates(policy: RatePolicy) -> CircuitBreakerConfig {
    config().with_trip(TripPolicy::Rates(policy))
}

/// A circuit with rates, where the breaker declares them.
async fn bench_of(world: &World, policy: RatePolicy) -> Result<Bench, Stop> {
    let bench = world.bench().await?;
    bench.configured(rates(policy))
}

fn holds(bench: &Bench, calls: u64, failures: u64, slow: u64, when: &str) -> CaseResult {
    let due = Some(WindowCounts { calls, failures, slow });
    ensure_eq!("R18", bench.metrics().window, due, "what the window holds {when}");
    Ok(())
}

async fn failure_rate_over_calls(world: World) -> CaseResult {
    let bench = bench_of(&world, half_of(Window::Calls(10))).await?;
    ensure_eq!("R18", bench.succeed(100), 100, "good calls");
    holds(&bench, 10, 0, 0, "after 100 good calls")?;
    ensure_eq!("R18", bench.fail(4), 4, "failing calls");
    ensure_eq!("R18", bench.state(), CircuitState::Closed, "with 4 of the last 10 failed");
    holds(&bench, 10, 4, 0, "after 4 failures")?;
    // They slide out: ten good calls later they were never there.
    bench.succeed(10);
    holds(&bench, 10, 0, 0, "after 10 good calls more")?;
    bench.fail(4);
    holds(&bench, 10, 4, 0, "after 4 failures again")?;
    let before = bench.metrics().window;
    ensure_eq!("R11", bench.settle(3, Outcome::Ignored), 3, "calls whose result is ignored");
    ensure_eq!("R11", bench.metrics().window, before, "what the window holds after them");
    ensure_eq!("R18", bench.state(), CircuitState::Closed, "with 4 of the last 10 failed again");
    ensure_eq!("R18", bench.settle(1, Outcome::TimedOut), 1, "the call that runs out of time");
    ensure_eq!("R18", bench.state(), CircuitState::Open, "with 5 of the last 10 failed");
    let cause = bench.metrics().recent_transitions.last().map(|change| change.cause);
    ensure_eq!("R18", cause, Some(TransitionCause::Failure), "why");
    Ok(())
}

async fn failure_rate_over_time(world: World) -> CaseResult {
    let bench = bench_of(&world, half_of(Window::Time(WINDOW))).await?;
    bench.fail(3);
    holds(&bench, 3, 3, 0, "after 3 failures")?;
    // Never longer than the window.
    bench.pass(WINDOW)?;
    holds(&bench, 0, 0, 0, "a window later")?;
    bench.fail(3);
    ensure_eq!("R18", bench.state(), CircuitState::Closed, "after 3 failures beside 3 that left the window");
    // Never shorter than nine tenths of it.
    bench.pass(WINDOW / 10 * 9 - Duration::from_millis(1))?;
    holds(&bench, 3, 3, 0, "nine tenths of a window later")?;
    bench.succeed(4);
    ensure_eq!("R18", bench.state(), CircuitState::Closed, "with 3 of 7 failed");
    bench.fail(1);
    ensure_eq!("R18", bench.state(), CircuitState::Open, "with 4 of 8 failed");
    Ok(())
}

async fn minimum_calls_come_first(world: World) -> CaseResult {
    let bench = bench_of(&world, half_of(Window::Calls(10)).with_minimum_calls(6)).await?;
    ensure_eq!("R18", bench.fail(5), 5, "failing calls below the minimum");
    ensure_eq!("R18", bench.state(), CircuitState::Closed, "after 5 calls of at least 6");
    // The sixth is a success: it makes the minimum and opens nothing.
    bench.succeed(1);
    ensure_eq!("R18", bench.state(), CircuitState::Closed, "a success opens nothing");
    bench.fail(1);
    ensure_eq!("R18", bench.state(), CircuitState::Open, "after the next failure");
    Ok(())
}

/// Calls that take so long and succeed.
fn slow(bench: &Bench, calls: u32, time: Duration) -> CaseResult {
    for _ in 0..calls {
        let call = bench.held()?;
        bench.pass(time)?;
        call.success();
    }
    Ok(())
}

async fn slow_calls_open(world: World) -> CaseResult {
    let policy = RatePolicy::new(Window::Calls(10)).with_slow_calls(0.5, SECOND).with_minimum_calls(4);
    let bench = bench_of(&world, policy).await?;
    bench.pass(SECOND)?;
    slow(&bench, 4, SECOND - Duration::from_millis(1))?;
    ensure_eq!("R18", bench.fail(1), 1, "a call that fails fast");
    holds(&bench, 5, 1, 0, "without slow calls")?;
    slow(&bench, 3, SECOND)?;
    bench.succeed(1);
    holds(&bench, 9, 1, 3, "after 3 slow calls")?;
    slow(&bench, 1, 2 * SECOND)?;
    ensure_eq!("R18", bench.state(), CircuitState::Closed, "with 4 of the last 10 slow");
    slow(&bench, 1, SECOND)?;
    ensure_eq!("R18", bench.state(), CircuitState::Open, "with 5 of the last 10 slow");
    let metrics = bench.metrics();
    let cause = metrics.recent_transitions.last().map(|change| change.cause);
    ensure_eq!("R18", cause, Some(TransitionCause::SlowCalls), "why");
    let totals = (metrics.slow_count, metrics.success_count, metrics.failure_count);
    ensure_eq!("R18", totals, (5, 10, 1), "slow, succeeded and failed, ever");
    // A probe that is slow is no recovery.
    bench.pass(T + bench.grain())?;
    slow(&bench, 1, SECOND)?;
    ensure_eq!("R18", bench.state(), CircuitState::Open, "after a slow probe");
    bench.pass(T + bench.grain())?;
    ensure_eq!("R18", bench.succeed(S), S, "probes that are not slow");
    ensure_eq!("R18", bench.state(), CircuitState::Closed, "after {S} of them");
    Ok(())
}

async fn window_is_of_its_era(world: World) -> CaseResult {
    let bench = bench_of(&world, half_of(Window::Calls(10))).await?;
    let late = bench.held()?;
    bench.fail(4);
    ensure_eq!("R18", bench.state(), CircuitState::Open, "after 4 failures");
    bench.pass(T + bench.grain())?;
    bench.recover()?;
    holds(&bench, 0, 0, 0, "when the circuit closed again")?;
    bench.fail(3);
    holds(&bench, 3, 3, 0, "after 3 failures of this era")?;
    late.failure();
    let window = Some(WindowCounts { calls: 3, failures: 3, slow: 0 });
    let seen = (bench.state(), bench.metrics().window);
    ensure_eq!("R2", seen, (CircuitState::Closed, window), "after a failure of the era before");
    bench.breaker.reset_circuit_breaker(NAME)?;
    ensure_eq!("R9", bench.metrics().window, Some(WindowCounts::default()), "the window after reset");
    Ok(())
}

async fn rates_change_and_counts_stay(world: World) -> CaseResult {
    let bench = bench_of(&world, half_of(Window::Calls(10))).await?;
    needs(bench.breaker.capabilities().features, BreakerFeature::Reconfiguration)?;
    let configure = |config| bench.breaker.configure_circuit_breaker(NAME, config);
    bench.succeed(4);
    bench.fail(3);
    configure(rates(half_of(Window::Calls(10)).with_failure_rate(0.6)))?;
    let kept = Some(WindowCounts { calls: 7, failures: 3, slow: 0 });
    ensure_eq!("R12", bench.metrics().window, kept, "a new rate keeps what the window holds");
    bench.fail(1);
    ensure_eq!("R12", bench.state(), CircuitState::Closed, "with 4 of 8 failed, where 0.6 may");
    configure(rates(half_of(Window::Calls(8))))?;
    let empty = Some(WindowCounts::default());
    ensure_eq!("R12", bench.metrics().window, empty, "another window begins empty");
    ensure_eq!(
        "R12",
        bench.metrics().consecutive_failures,
        4,
        "failures in a row are counted by every policy"
    );
    configure(config().with_failure_threshold(5))?;
    ensure_eq!("R12", bench.state(), CircuitState::Closed, "a configuration alone opens nothing");
    bench.fail(1);
    ensure_eq!("R12", bench.state(), CircuitState::Open, "after 5 failures in a row");
    Ok(())
}

async fn bad_rates_are_refused(world: World) -> CaseResult {
    let bench = world.bench().await?;
    needs(bench.breaker.capabilities().features, BreakerFeature::Reconfiguration)?;
    bench.fail(super::world::F - 1);
    let policy = half_of(Window::Calls(10));
    let bad = [
        ("failure_rate", policy.with_failure_rate(f64::NAN)),
        ("failure_rate", policy.with_failure_rate(1.000_001)),
        ("failure_rate", policy.with_failure_rate(-0.5)),
        ("slow_calls.rate", policy.with_slow_calls(f64::INFINITY, SECOND)),
        ("slow_calls.time", policy.with_slow_calls(0.5, Duration::ZERO)),
        ("minimum_calls", policy.with_minimum_calls(0)),
        ("minimum_calls", policy.with_minimum_calls(11)),
        ("window.calls", half_of(Window::Calls(0))),
        ("window.time", half_of(Window::Time(Duration::MAX))),
    ];
    for (field, policy) in bad {
        let Err(error) = bench.breaker.configure_circuit_breaker(NAME, rates(policy)) else {
            ensure!("R12", false, "{field}: {policy:?} was accepted");
            continue;
        };
        ensure_eq!("R12", error.kind(), ErrorKind::InvalidInput, "{field}");
        ensure!("R12", error.message().contains(field), "{field}: {error}");
    }
    bench.fail(1);
    ensure_eq!("R12", bench.state(), CircuitState::Open, "the old configuration is in force");
    Ok(())
}
