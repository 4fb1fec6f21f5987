//! What a run came to, as data.

use std::path::Path;

use onex_testkit::suite::Outcome;
use serde::Serialize;

/// One case on one engine.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Entry {
    /// The engine's folder, and what it was composed with after a `/`.
    pub(crate) engine: String,
    /// The case.
    pub(crate) id: &'static str,
    /// `passed`, `failed` or `ignored`.
    pub(crate) outcome: &'static str,
    /// Why it failed or was ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// How long it took.
    pub(crate) millis: u128,
}

impl Entry {
    pub(crate) fn new(engine: String, id: &'static str, outcome: Outcome, millis: u128) -> Self {
        let (outcome, reason) = match outcome {
            Outcome::Passed => ("passed", None),
            Outcome::Ignored(reason) => ("ignored", Some(reason)),
            Outcome::Failed { law: "", message } => ("failed", Some(message)),
            Outcome::Failed { law, message } => ("failed", Some(format!("{law}: {message}"))),
            other => ("failed", Some(format!("an outcome that this program does not know: {other:?}"))),
        };
        Self { engine, id, outcome, reason, millis }
    }

    /// The suite: the id before its first dot.
    pub(crate) fn suite(&self) -> &'static str {
        self.id.split_once('.').map_or(self.id, |(suite, _)| suite)
    }
}

pub(crate) fn failures(entries: &[Entry]) -> usize {
    entries.iter().filter(|entry| entry.outcome == "failed").count()
}

pub(crate) fn write(path: &Path, entries: &[Entry]) -> Result<(), String> {
    let text = serde_json::to_string_pretty(entries).map_err(|error| error.to_string())?;
    std::fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}
