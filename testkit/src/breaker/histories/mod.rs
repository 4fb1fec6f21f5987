//! Random histories: a breaker and a model never differ.
//!
//! ```text
//!  seed ─► history: calls that succeed, fail, time out, trip, are ignored, dropped, panic or hang; forces, resets, restorations,
//!          configurations; a clock that goes on and, against its law, back
//!            ├ played on the breaker ─► what each step showed ┐
//!            └ played on the model ───► what each step showed ┴ equal? else the shortest history that still shows it
//! ```
//!
//! There are two models: [`against_sequential`] takes the sixty lines that say what a circuit is, [`against_reference`] the
//! [`ReferenceBreaker`], which knows everything that a breaker may declare. A history holds only what the breaker declares.
//!
//! Times are whole milliseconds, because a breaker may round the end of an opening up to one; what happens between them is the
//! suite's (`breaker.open_time_boundary`).
//!
//! # Examples
//! ```
//! use std::sync::Arc;
//! use onex_testkit::breaker::{histories, reference::ReferenceBreaker};
//!
//! let differs = histories::against_sequential(100, |setup| async move { Ok(Arc::new(ReferenceBreaker::new(setup)) as Arc<_>) });
//! assert_eq!(differs, None);
//! ```

mod sequential;
mod steps;
mod subjects;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use onex_spi::breaker::{BreakerFeature, CircuitBreaker};
use onex_spi::{Features, Result};

use self::steps::{Step, history};
use self::subjects::{Answer, Bent, Modelled, Played, Seen, Subject, unsettled};
use super::BreakerSetup;
use super::reference::ReferenceBreaker;

/// Plays so many random histories on breakers of `factory` and on the sequential model, which knows the laws R0 to R9, R11 and R12
/// for failures in a row; the shortest history on which they differ, in words.
pub fn against_sequential<F, Fut>(histories: u64, factory: F) -> Option<String>
where
    F: Fn(BreakerSetup) -> Fut,
    Fut: Future<Output = Result<Arc<dyn CircuitBreaker>>>,
{
    let known = Features::none().with(BreakerFeature::InjectedClock).with(BreakerFeature::Reconfiguration);
    differs(histories, known, factory, |clock, setup, breaker| {
        Ok((Box::new(Played::plain(breaker, clock)?), Box::new(Modelled::new(setup.defaults, clock.again()))))
    })
}

/// Plays so many random histories on breakers of `factory` and on the [`ReferenceBreaker`]; the shortest history on which they
/// differ, in words.
pub fn against_reference<F, Fut>(histories: u64, factory: F) -> Option<String>
where
    F: Fn(BreakerSetup) -> Fut,
    Fut: Future<Output = Result<Arc<dyn CircuitBreaker>>>,
{
    differs(histories, Features::all(), factory, |clock, setup, breaker| {
        let listens = breaker.capabilities().features.has(BreakerFeature::Listeners);
        let again = clock.again();
        let reference = Arc::new(ReferenceBreaker::new(on(setup, &again)));
        Ok((
            Box::new(Played::new(breaker, clock, listens)?),
            Box::new(Played::new(reference, &again, listens)?),
        ))
    })
}

/// The breaker and the model, each on a clock of its own that begins at the same instant.
type Pair = (Box<dyn Subject>, Box<dyn Subject>);

fn differs<F, Fut>(
    histories: u64,
    known: Features<BreakerFeature>,
    factory: F,
    pair: impl Fn(&Arc<Bent>, BreakerSetup, Arc<dyn CircuitBreaker>) -> Result<Pair>,
) -> Option<String>
where
    F: Fn(BreakerSetup) -> Fut,
    Fut: Future<Output = Result<Arc<dyn CircuitBreaker>>>,
{
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Some(format!("no runtime: {error}")),
    };
    let mut setup = BreakerSetup::new(0);
    // Openings that end within a history.
    setup.defaults = setup.defaults.with_open_time(Duration::from_millis(10));
    let made = |clock: &Arc<Bent>| runtime.block_on(factory(on(setup.clone(), clock)));
    let declared = match made(&Bent::new(Instant::now())) {
        Ok(breaker) => breaker.capabilities().features,
        Err(error) => return Some(format!("no breaker: {error:#}")),
    };
    if !declared.has(BreakerFeature::InjectedClock) {
        return Some("a breaker with a clock of its own cannot be judged by histories".to_owned());
    }
    let played = declared.iter().filter(|feature| known.has(*feature)).fold(Features::none(), Features::with);
    let difference = |steps: &[Step]| {
        let clock = Bent::new(Instant::now());
        let breaker = match made(&clock) {
            Ok(breaker) => breaker,
            Err(error) => return Some(format!("no breaker: {error:#}")),
        };
        let _inside = runtime.enter();
        let judged = catch_unwind(AssertUnwindSafe(|| match pair(&clock, setup.clone(), breaker) {
            Ok((mut breaker, mut model)) => compare(&mut *breaker, &mut *model, steps),
            Err(error) => Some(format!("no circuit: {error:#}")),
        }));
        judged.unwrap_or_else(|_| Some("the breaker panicked".to_owned()))
    };
    for seed in 0..histories {
        let steps = history(seed, played);
        if difference(&steps).is_some() {
            let steps = shortest(steps, |steps| difference(steps).is_some());
            let what = difference(&steps).unwrap_or_else(|| "they differ now and then".to_owned());
            return Some(format!("history {seed}, made as short as can be: {steps:#?}\n{what}"));
        }
    }
    None
}

fn on(mut setup: BreakerSetup, clock: &Arc<Bent>) -> BreakerSetup {
    setup.clock = Arc::clone(clock) as _;
    setup
}

/// Leaves out what can be left out, first large parts, then single steps.
fn shortest(mut steps: Vec<Step>, differs: impl Fn(&[Step]) -> bool) -> Vec<Step> {
    let mut size = steps.len();
    while size > 0 {
        let mut at = 0;
        while at < steps.len() {
            let end = (at + size).min(steps.len());
            let shorter = [&steps[..at], &steps[end..]].concat();
            if differs(&shorter) { steps = shorter } else { at = end }
        }
        size /= 2;
    }
    steps
}

/// Plays the steps on both, and then ends what is on its way, so that everything must add up.
fn compare(breaker: &mut dyn Subject, model: &mut dyn Subject, steps: &[Step]) -> Option<String> {
    for (number, step) in steps.iter().map(Some).chain([None]).enumerate() {
        let what = || step.map_or("at the end".to_owned(), |step| format!("at step {number}, {step:?}"));
        let (shown, due) = (shown(breaker, step), shown(model, step));
        if shown != due {
            return Some(format!("{}:\nthe breaker: {shown:?}\nthe model:   {due:?}", what()));
        }
        let (_, Seen { status, metrics }) = &shown;
        let running = unsettled(metrics);
        let adds_up = if step.is_some() { running <= metrics.admitted_count } else { running == 0 };
        if *status != metrics.status || !adds_up {
            return Some(format!("{}: {status:?} beside {metrics:?}", what()));
        }
    }
    None
}

/// What a step came to and what is read after it.
fn shown(subject: &mut dyn Subject, step: Option<&Step>) -> (Answer, Seen) {
    let answer = match step {
        Some(step) => subject.play(step),
        None => subject.end(),
    };
    (answer, subject.seen())
}

#[cfg(test)]
mod tests {
    use super::super::broken::broken;
    use super::*;

    /// The broken breakers on which a history differs from the sixty lines. The others need several circuits, threads, listeners,
    /// hours, names or numbers that no history has, or what only the reference knows.
    const SEEN_BY_SIXTY_LINES: &[&str] = &[
        "success_keeps_the_run",
        "one_failure_is_no_run",
        "failure_counts_as_timeout_too",
        "timeout_counted_twice",
        "permit_leaked_on_drop",
        "cancellation_counts_as_failure",
        "rejection_counts_as_failure",
        "rejection_without_retry_after",
        "ignored_counts_as_failure",
        "ignored_keeps_its_slot",
        "panic_uncounted",
        "success_threshold_ignored",
        "successes_survive_reopening",
        "late_success_closes_the_circuit",
        "late_failures_prolong_the_opening",
        "stale_success_closes",
        "stale_failure_reopens",
        "half_open_unlimited",
        "deadline_rounded_down",
        "hung_probes_wedge_the_circuit",
        "abandoned_probe_counts_late",
        "lease_forgets_the_own_timeout",
        "no_era",
        "era_only_from_closed_to_open",
        "permit_freed_by_a_stale_drop",
        "forced_closed_counts",
        "reset_ignores_the_closed_state",
        "reset_keeps_the_forced_flag",
        "configuration_resets",
    ];
    const SEEN_BY_THE_REFERENCE_ALONE: &[&str] = &[
        "half_of_the_history_is_lost",
        "restoring_does_nothing",
        "changes_told_out_of_order",
        "cumulative_window",
        "minimum_calls_ignored",
        "slow_calls_ignored",
        "openings_never_grow",
        "openings_grow_beyond_the_cap",
        "tripping_result_is_one_failure",
        "own_wait_ignored",
        "own_wait_without_cap",
        "observed_circuit_rejects",
    ];

    #[test]
    fn the_reference_is_what_sixty_lines_say() {
        let differs =
            against_sequential(
                2_000,
                |setup| async move { Ok(Arc::new(ReferenceBreaker::new(setup)) as Arc<_>) },
            );
        assert_eq!(differs, None);
    }

    #[test]
    fn histories_catch_broken_breakers() {
        let (mut sixty, mut reference) = (Vec::new(), Vec::new());
        for broken in broken() {
            let factory = |setup| async move { Ok((broken.wrap)(Arc::new(ReferenceBreaker::new(setup)))) };
            if against_sequential(500, factory).is_some() {
                sixty.push(broken.name);
            } else if against_reference(500, factory).is_some() {
                reference.push(broken.name);
            }
        }
        assert_eq!((&*sixty, &*reference), (SEEN_BY_SIXTY_LINES, SEEN_BY_THE_REFERENCE_ALONE));
    }

    #[test]
    fn a_difference_is_told_by_the_shortest_history() {
        let broken = broken().into_iter().find(|broken| broken.name == "ignored_counts_as_failure");
        let wrap = broken.expect("it is there").wrap;
        let differs =
            against_sequential(100, |setup| async move { Ok(wrap(Arc::new(ReferenceBreaker::new(setup)))) });
        let differs = differs.expect("it is seen");
        // One call that is let through and one that is ignored.
        assert_eq!(differs.matches("Admit").count(), 1, "{differs}");
        assert!(differs.contains("at step 1, Settle") && differs.contains("Ignored"), "{differs}");
    }
}
