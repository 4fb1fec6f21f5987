//! Runs trials on a few threads, in any order, and reports them in theirs.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use onex_testkit::suite::Trial;

use crate::engines::Subject;
use crate::report::Entry;

/// Most cases wait rather than work: a few more threads than cores.
const THREADS: usize = 4;

pub(crate) fn run(subjects: Vec<Subject>, prefix: &str) -> Vec<Entry> {
    let work: Vec<(String, Trial)> = subjects
        .into_iter()
        .flat_map(|subject| {
            let name = subject.name;
            subject.trials.into_iter().map(move |trial| (name.clone(), trial))
        })
        .filter(|(_, trial)| trial.id().starts_with(prefix))
        .collect();
    // Draws on a terminal only; stays silent elsewhere.
    let progress = ProgressBar::new(work.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}") {
        progress.set_style(style);
    }
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Entry)>> = Mutex::new(Vec::with_capacity(work.len()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS.min(work.len()) {
            scope.spawn(|| {
                while let Some((index, (engine, trial))) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    work.get(index).map(|item| (index, item))
                } {
                    progress.set_message(format!("{engine} {}", trial.id()));
                    let begin = Instant::now();
                    let outcome = trial.run();
                    let entry = Entry::new(engine.clone(), trial.id(), outcome, begin.elapsed().as_millis());
                    done.lock().unwrap_or_else(|error| error.into_inner()).push((index, entry));
                    progress.inc(1);
                }
            });
        }
    });
    progress.finish_and_clear();
    let mut done = done.into_inner().unwrap_or_else(|error| error.into_inner());
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, entry)| entry).collect()
}
