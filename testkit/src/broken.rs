//! The suites prove themselves: engines with one deliberate bug, and the cases that must notice it.
//!
//! ```text
//!  good engine ─► wrap (one changed behaviour) ─► suite ─► named cases   fail, on the law that the bug breaks
//!                                                        └ all others    pass, or are ignored as on the good engine
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use crate::suite::{Outcome, Trial};

/// One bug that a wrapper adds to any good engine of the port `P`.
#[non_exhaustive]
pub struct Broken<P: ?Sized> {
    /// What it does wrong, in a few words joined by `_`.
    pub name: &'static str,
    /// The law that it breaks.
    pub law: &'static str,
    /// The cases that notice, each on that law.
    pub caught_by: &'static [&'static str],
    /// Adds the bug.
    pub wrap: fn(Arc<P>) -> Arc<P>,
}

impl<P: ?Sized> Broken<P> {
    /// Describes a bug.
    #[must_use]
    pub const fn new(
        name: &'static str,
        law: &'static str,
        caught_by: &'static [&'static str],
        wrap: fn(Arc<P>) -> Arc<P>,
    ) -> Self {
        Self { name, law, caught_by, wrap }
    }
}

impl<P: ?Sized> Clone for Broken<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: ?Sized> Copy for Broken<P> {}

impl<P: ?Sized> fmt::Debug for Broken<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Broken");
        out.field("name", &self.name).field("law", &self.law).field("caught_by", &self.caught_by);
        out.finish_non_exhaustive()
    }
}

/// How much of the suite each broken engine runs.
#[allow(clippy::exhaustive_enums, reason = "there is no third reach")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The cases that must notice.
    Named,
    /// Every case: those that are not named must not notice.
    All,
}

/// What checking broken engines came to.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The (bug, case) pairs that were noticed as they should be.
    pub caught: Vec<(&'static str, &'static str)>,
    /// The pairs that this engine cannot show, because it ignores the case, with the reason.
    pub ignored: Vec<String>,
    /// Everything that is not as it should be; empty = the suite has proved itself.
    pub wrong: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (caught, ignored, wrong) = (self.caught.len(), self.ignored.len(), self.wrong.len());
        write!(f, "{caught} bugs caught by their case, {ignored} ignored, {wrong} wrong")?;
        self.wrong.iter().chain(&self.ignored).try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// Cases that run side by side; most of them wait.
const AT_ONCE: usize = 4;

/// Runs the cases of `suite`, bound to the good engine (`None`) and to each broken one.
pub(crate) fn check<P: ?Sized + 'static>(
    broken: &[Broken<P>],
    reach: Reach,
    suite: impl Fn(Option<&Broken<P>>) -> Vec<Trial>,
) -> Report {
    let named = |bug: &Broken<P>, trial: &Trial| bug.caught_by.contains(&trial.id());
    let good: Vec<_> = suite(None)
        .into_iter()
        .filter(|trial| reach == Reach::All || broken.iter().any(|bug| named(bug, trial)))
        .map(|trial| (trial.id(), trial))
        .collect();
    let mut report = Report::default();
    let unknown = broken.iter().flat_map(|bug| bug.caught_by.iter().map(move |case| (bug.name, *case)));
    for (bug, case) in unknown.filter(|(_, case)| good.iter().all(|(id, _)| id != case)) {
        report.wrong.push(format!("{bug}: there is no case {case}"));
    }
    let good: BTreeMap<_, _> = run(good).into_iter().collect();
    for (case, outcome) in &good {
        if let Outcome::Failed { law, message } = outcome {
            report.wrong.push(format!("the good engine fails {case} on {law:?}: {message}"));
        }
    }

    let mut trials = Vec::new();
    for (index, bug) in broken.iter().enumerate() {
        let mine = suite(Some(bug)).into_iter();
        let mine = mine.filter(|trial| reach == Reach::All || named(bug, trial));
        trials.extend(mine.map(|trial| ((index, trial.id()), trial)));
    }
    for ((index, case), outcome) in run(trials) {
        judge(&broken[index], case, &outcome, good.get(case), &mut report);
    }
    report
}

fn judge<P: ?Sized>(
    bug: &Broken<P>,
    case: &'static str,
    outcome: &Outcome,
    good: Option<&Outcome>,
    report: &mut Report,
) {
    let name = bug.name;
    let due = bug.caught_by.contains(&case);
    match (outcome, good) {
        // Told above, once.
        (_, Some(Outcome::Failed { .. }) | None) => {}
        (Outcome::Failed { law, .. }, _) if due && *law == bug.law => report.caught.push((name, case)),
        (Outcome::Failed { law, message }, _) if due => {
            report.wrong.push(format!("{name}: {case} fails on {law:?} instead of {}: {message}", bug.law));
        }
        (Outcome::Failed { law, message }, _) => {
            report.wrong.push(format!("{name}: {case} is not named, yet fails on {law:?}: {message}"));
        }
        (_, Some(Outcome::Ignored(reason))) if due => {
            report.ignored.push(format!("{name}: {case} is ignored: {reason}"));
        }
        (outcome, _) if due => report.wrong.push(format!("{name}: {case} does not notice: {outcome:?}")),
        _ => {}
    }
}

/// Runs trials on a few threads; the order of the results is that of the trials.
fn run<K: Send>(trials: Vec<(K, Trial)>) -> Vec<(K, Outcome)> {
    let waiting = Mutex::new(trials.into_iter().enumerate().collect::<VecDeque<_>>());
    let done = Mutex::new(BTreeMap::new());
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    std::thread::scope(|scope| {
        for _ in 0..cores * AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some((index, (key, trial))) = next else { break };
                    let outcome = trial.run();
                    done.lock().unwrap_or_else(PoisonError::into_inner).insert(index, (key, outcome));
                }
            });
        }
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

/// Checks that the cases of a suite that no broken engine shows are those that `docs/laws.md` lists, with a reason.
#[cfg(test)]
pub(crate) fn assert_told<'a>(
    suite: &str,
    cases: impl IntoIterator<Item = &'a str>,
    caught: impl IntoIterator<Item = &'a str>,
) {
    use std::collections::BTreeSet;
    let laws = include_str!("../../docs/laws.md");
    let (_, list) = laws.split_once("## Cases without a broken engine").expect("the list in docs/laws.md");
    let list = list.split_once("\n## ").map_or(list, |(list, _)| list);
    let told: BTreeSet<_> = list.split('`').filter(|word| word.starts_with(suite)).collect();
    let caught: BTreeSet<_> = caught.into_iter().collect();
    let silent: BTreeSet<_> =
        cases.into_iter().filter(|id| id.starts_with(suite) && !caught.contains(id)).collect();
    assert_eq!(told, silent, "the cases of {suite} without a broken engine: told in docs/laws.md, and found");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::{Case, Stop};

    const CASES: &[Case<i32>] = &[
        Case::new("self.even", &["E1"], &[], |value| {
            Box::pin(async move {
                crate::ensure!("E1", value % 2 == 0, "{value} is odd");
                Ok(())
            })
        }),
        Case::new("self.positive", &["E2"], &[], |value| {
            Box::pin(async move {
                crate::ensure!("E2", value > 0, "{value} is not positive");
                Ok(())
            })
        }),
        Case::new("self.ignored", &["E3"], &[], |_| {
            Box::pin(async { Err(Stop::Ignored("no feature".into())) })
        }),
    ];

    fn check_bugs(reach: Reach, bugs: &[Broken<i32>]) -> Report {
        check(bugs, reach, |bug| {
            let value = bug.map_or(2, |bug| *(bug.wrap)(Arc::new(2)));
            CASES.iter().map(|case| Trial::new(case, move || value)).collect()
        })
    }

    #[test]
    fn a_caught_bug_an_ignored_one_and_every_kind_of_mistake_are_told_apart() {
        let odd: fn(Arc<i32>) -> Arc<i32> = |_| Arc::new(3);
        let good = check_bugs(Reach::All, &[Broken::new("odd", "E1", &["self.even"], odd)]);
        assert_eq!((good.caught, good.wrong.len()), (vec![("odd", "self.even")], 0));

        let cases = [
            (Broken::new("odd", "E2", &["self.even"], odd), "instead of E2"),
            (Broken::new("odd", "E1", &["self.even", "self.positive"], odd), "does not notice"),
            (Broken::new("odd", "E1", &["self.gone"], odd), "there is no case self.gone"),
            (Broken::new("negative", "E1", &["self.even"], |_| Arc::new(-1)), "is not named"),
        ];
        for (bug, text) in cases {
            let report = check_bugs(Reach::All, &[bug]);
            assert!(report.wrong.iter().any(|line| line.contains(text)), "{report}");
        }
        let ignored = check_bugs(Reach::Named, &[Broken::new("odd", "E3", &["self.ignored"], odd)]);
        assert_eq!((ignored.ignored.len(), ignored.wrong.len()), (1, 0));
    }
}
