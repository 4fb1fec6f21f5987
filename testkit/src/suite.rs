//! The runner that every suite shares: cases are data, a runtime each, an outcome each.
//!
//! ```text
//!  Case<W> (id, laws, rows, body) + a way to make W ─► Trial ─► run() on a fresh runtime
//!     body returns Ok ─ passed      Stop::Ignored ─ ignored (reason)      Stop::Failed or a panic ─ failed (law, message)
//!     afterwards: no task may live on, and dropping the runtime must not block
//! ```

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use onex_spi::{BoxFuture, Error, Feature, Features};
use tokio::runtime::Runtime;

/// Why a case ended before its end.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A law was broken.
    Failed {
        /// The law, such as `K4`; empty where the harness itself failed.
        law: &'static str,
        /// What was seen and what was due.
        message: String,
    },
    /// The case does not apply.
    Ignored(String),
}

/// What a case's body returns.
pub type CaseResult = Result<(), Stop>;

impl From<Error> for Stop {
    /// An error where the case expected none.
    fn from(error: Error) -> Self {
        Self::Failed { law: "", message: format!("unexpected error: {error:#} {:?}", error.effect()) }
    }
}

/// Ends a case as ignored unless `feature` is declared.
///
/// # Errors
/// [`Stop::Ignored`] naming the feature.
pub fn needs<F: Feature>(declared: Features<F>, feature: F) -> CaseResult {
    if declared.has(feature) {
        return Ok(());
    }
    Err(Stop::Ignored(format!("{feature:?} not declared")))
}

/// Checks a law inside a case: `ensure!("K4", condition, "message {}", values)`.
#[macro_export]
macro_rules! ensure {
    ($law:literal, $condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::suite::Stop::Failed { law: $law, message: format!($($message)+) });
        }
    };
}

/// Checks that two values are equal under a law: `ensure_eq!("K4", left, right, "what")`.
#[macro_export]
macro_rules! ensure_eq {
    ($law:literal, $left:expr, $right:expr, $($message:tt)+) => {{
        let (left, right) = (&$left, &$right);
        if left != right {
            let message = format!("{}: {left:?} is not {right:?}", format_args!($($message)+));
            return Err($crate::suite::Stop::Failed { law: $law, message });
        }
    }};
}

/// One case of a suite over a world `W`: what the body gets to work with.
#[non_exhaustive]
pub struct Case<W> {
    /// `<suite>.<name>`, the name of the conformance tables.
    pub id: &'static str,
    /// The laws that the case judges.
    pub laws: &'static [&'static str],
    /// The acceptance rows that the case serves.
    pub rows: &'static [&'static str],
    /// The body.
    pub run: fn(W) -> BoxFuture<'static, CaseResult>,
}

impl<W> Case<W> {
    /// Makes a case.
    #[must_use]
    pub const fn new(
        id: &'static str,
        laws: &'static [&'static str],
        rows: &'static [&'static str],
        run: fn(W) -> BoxFuture<'static, CaseResult>,
    ) -> Self {
        Self { id, laws, rows, run }
    }
}

/// How a case ended.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every law held.
    Passed,
    /// A law was broken.
    Failed {
        /// The law; empty for a panic, a leak or a failure of the harness.
        law: &'static str,
        /// What was seen.
        message: String,
    },
    /// The case does not apply.
    Ignored(String),
}

/// A case bound to an engine, ready to run.
#[derive(Clone)]
pub struct Trial {
    /// The case's id.
    id: &'static str,
    /// The laws that it judges.
    laws: &'static [&'static str],
    run: Arc<dyn Fn() -> Outcome + Send + Sync>,
}

impl fmt::Debug for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Trial").field(&self.id).finish()
    }
}

impl Trial {
    /// Binds a case to a world that is made anew for each run.
    pub fn new<W: Send + 'static>(case: &Case<W>, world: impl Fn() -> W + Send + Sync + 'static) -> Self {
        let body = case.run;
        Self { id: case.id, laws: case.laws, run: Arc::new(move || on_a_runtime(HUNG, || body(world()))) }
    }

    /// The same case without what it needs: ignored with `reason` on a laptop, failed where conformance is required.
    #[must_use]
    pub fn missing(&self, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        let run = move || match missing(reason.clone()) {
            Stop::Ignored(reason) => Outcome::Ignored(reason),
            Stop::Failed { law, message } => Outcome::Failed { law, message },
        };
        Self { id: self.id, laws: self.laws, run: Arc::new(run) }
    }

    /// The case's id.
    #[must_use]
    pub fn id(&self) -> &'static str {
        self.id
    }

    /// The laws that the case judges.
    #[must_use]
    pub fn laws(&self) -> &'static [&'static str] {
        self.laws
    }

    /// Runs the case on a runtime of its own.
    #[must_use]
    pub fn run(&self) -> Outcome {
        (self.run)()
    }
}

/// Whether a thing that is not configured is a failure (`ONEX_CONFORMANCE=required`) or ignored.
#[must_use]
pub fn required() -> bool {
    std::env::var("ONEX_CONFORMANCE").is_ok_and(|value| value == "required")
}

/// Ends a case for something that this machine lacks: ignored on a laptop, failed where conformance is required.
#[must_use]
pub fn missing(reason: impl Into<String>) -> Stop {
    let reason = reason.into();
    if required() {
        Stop::Failed { law: "", message: format!("required, but {reason}") }
    } else {
        Stop::Ignored(reason)
    }
}

/// The longest that one case may take before it counts as hung.
const HUNG: Duration = Duration::from_secs(120);
/// How long tasks may take to end after their engine was dropped.
const QUIET: Duration = Duration::from_secs(5);
/// How long dropping the runtime may block: a thread that a call left behind, waiting for a peer, shows here
/// (decision 5 says why not less).
const DROP: Duration = Duration::from_secs(3);

/// Nothing here waits on the runtime itself: a case that blocks every one of its threads still has an outcome.
fn on_a_runtime(most: Duration, body: impl FnOnce() -> BoxFuture<'static, CaseResult>) -> Outcome {
    let failed = |message: String| Outcome::Failed { law: "", message };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(format!("no runtime: {error}")),
    };
    let (tell, told) = mpsc::channel();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let inside = runtime.enter();
        let case = tokio::spawn(body());
        let stop = case.abort_handle();
        // Where nobody listens any more the case is told as hung already.
        drop(tokio::spawn(async move { tell.send(case.await) }));
        drop(inside);
        match told.recv_timeout(most) {
            Err(_) => {
                stop.abort();
                failed(format!("hung: no end after {most:?}"))
            }
            Ok(Err(panic)) => failed(match panic.try_into_panic() {
                Ok(payload) => format!("panicked: {}", text_of(&*payload)),
                Err(_) => "cancelled".to_owned(),
            }),
            Ok(Ok(Ok(()))) => Outcome::Passed,
            Ok(Ok(Err(Stop::Ignored(reason)))) => Outcome::Ignored(reason),
            Ok(Ok(Err(Stop::Failed { law, message }))) => Outcome::Failed { law, message },
        }
    }))
    .unwrap_or_else(|payload| failed(format!("panicked: {}", text_of(&*payload))));

    let quiet = quiet(&runtime);
    let begin = Instant::now();
    runtime.shutdown_timeout(2 * DROP);
    let dropping = begin.elapsed();
    match (outcome, quiet) {
        (Outcome::Passed, Err(tasks)) => {
            failed(format!("{tasks} tasks live on {QUIET:?} after everything was dropped"))
        }
        (Outcome::Passed, Ok(())) if dropping > DROP => {
            failed(format!("dropping the runtime blocked for {dropping:?}"))
        }
        (outcome, _) => outcome,
    }
}

/// Waits for tasks that were told to end; there is no event for "the last task ended".
fn quiet(runtime: &Runtime) -> Result<(), usize> {
    let begin = Instant::now();
    loop {
        match runtime.metrics().num_alive_tasks() {
            0 => return Ok(()),
            alive if begin.elapsed() > QUIET => return Err(alive),
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

fn text_of(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a payload that is no text")
}

/// Runs trials as the `main` of a test target with `harness = false`; takes libtest's arguments.
///
/// # Examples
/// `cargo test -p my-engine --test conformance -- kafka.commit`
#[must_use]
pub fn main(trials: Vec<Trial>) -> ExitCode {
    use libtest_mimic::{Arguments, Completion, Trial as Test};
    let tests = trials
        .into_iter()
        .map(|trial| {
            Test::ignorable_test(trial.id(), move || match trial.run() {
                Outcome::Passed => Ok(Completion::Completed),
                Outcome::Ignored(reason) => Ok(Completion::ignored_with(reason)),
                Outcome::Failed { law: "", message } => Err(message.into()),
                Outcome::Failed { law, message } => Err(format!("{law}: {message}").into()),
            })
        })
        .collect();
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(run: fn(()) -> BoxFuture<'static, CaseResult>) -> Outcome {
        Trial::new(&Case::new("self.case", &[], &[], run), || ()).run()
    }

    #[test]
    fn a_broken_law_a_panic_and_a_leak_all_fail() {
        let broken = outcome(|()| {
            Box::pin(async {
                ensure_eq!("K4", 1, 2, "answers");
                Ok(())
            })
        });
        assert_eq!(broken, Outcome::Failed { law: "K4", message: "answers: 1 is not 2".into() });
        let panicked = outcome(|()| Box::pin(async { panic!("boom") }));
        assert_eq!(panicked, Outcome::Failed { law: "", message: "panicked: boom".into() });
        let leak = outcome(|()| {
            Box::pin(async {
                tokio::spawn(std::future::pending::<()>());
                Ok(())
            })
        });
        assert!(matches!(leak, Outcome::Failed { message, .. } if message.contains("1 tasks live on")));
    }

    #[test]
    fn a_case_that_blocks_every_thread_is_told_as_hung() {
        let outcome = on_a_runtime(Duration::from_millis(100), || {
            Box::pin(async {
                let block = || async {
                    loop {
                        std::thread::park();
                    }
                };
                tokio::spawn(block());
                block().await
            })
        });
        let Outcome::Failed { law: "", message } = outcome else { panic!("{outcome:?}") };
        assert_eq!(message, "hung: no end after 100ms");
    }

    #[test]
    fn an_ignored_case_keeps_its_reason_and_is_not_passed() {
        let ignored = outcome(|()| Box::pin(async { Err(Stop::Ignored("Groups not declared".into())) }));
        assert_eq!(ignored, Outcome::Ignored("Groups not declared".into()));
    }
}
