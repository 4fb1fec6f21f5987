//! The same counts for a terminal and for README, where CI holds them against a run.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use comfy_table::Table;
use comfy_table::presets::{ASCII_MARKDOWN, UTF8_BORDERS_ONLY};

use crate::report::{Entry, failures};

const BEGIN: &str =
    "<!-- conformance: begin, written by `cargo run -p onex-conformance -- --write README.md` -->";
const END: &str = "<!-- conformance: end -->";

/// A row per engine and suite in order of appearance, then every failure and every reason for an ignored case.
pub(crate) fn terminal(entries: &[Entry]) -> String {
    let mut table = counts(entries);
    table.load_style(UTF8_BORDERS_ONLY);
    let mut text = format!("{table}\n");
    for entry in entries.iter().filter(|entry| entry.outcome != "passed") {
        let reason = entry.reason.as_deref().unwrap_or_default();
        let _ = writeln!(text, "{:7} {} {}: {reason}", entry.outcome, entry.engine, entry.id);
    }
    let number = |outcome| entries.iter().filter(|entry| entry.outcome == outcome).count();
    let (passed, failed, ignored) = (number("passed"), failures(entries), number("ignored"));
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    let _ = writeln!(text, "test result: {verdict}. {passed} passed; {failed} failed; {ignored} ignored");
    text
}

fn counts(entries: &[Entry]) -> Table {
    let mut table = Table::new();
    table.set_header(["engine", "suite", "passed", "failed", "ignored", "why ignored"]);
    let mut seen = Vec::new();
    for entry in entries {
        let key = (entry.engine.as_str(), entry.suite());
        if !seen.contains(&key) {
            seen.push(key);
        }
    }
    for (engine, suite) in seen {
        let of = || entries.iter().filter(|entry| entry.engine == engine && entry.suite() == suite);
        let number = |outcome| of().filter(|entry| entry.outcome == outcome).count().to_string();
        let reasons: BTreeSet<&str> = of()
            .filter(|entry| entry.outcome == "ignored")
            .filter_map(|entry| entry.reason.as_deref())
            .collect();
        let reasons = reasons.into_iter().collect::<Vec<_>>().join("; ");
        let cells = [
            engine.to_owned(),
            suite.to_owned(),
            number("passed"),
            number("failed"),
            number("ignored"),
            reasons,
        ];
        table.add_row(cells);
    }
    table
}

fn markdown(entries: &[Entry]) -> String {
    let mut table = counts(entries);
    table.load_style(ASCII_MARKDOWN);
    let table = table.trim_fmt();
    format!("{BEGIN}\n\n{table}\n\n{END}")
}

/// Where the table stands in a file.
fn place(path: &Path) -> Result<(String, usize, usize), String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let begin = text.find(BEGIN);
    let end = text.find(END).map(|at| at + END.len());
    match (begin, end) {
        (Some(begin), Some(end)) if begin < end => Ok((text, begin, end)),
        _ => Err(format!("{} has no lines `{BEGIN}` and `{END}`", path.display())),
    }
}

/// Whether the table in the file is that of this run.
pub(crate) fn check(path: &Path, entries: &[Entry]) -> Result<bool, String> {
    let (text, begin, end) = place(path)?;
    Ok(text[begin..end] == markdown(entries))
}

/// Replaces the table in the file.
pub(crate) fn write(path: &Path, entries: &[Entry]) -> Result<(), String> {
    let (mut text, begin, end) = place(path)?;
    text.replace_range(begin..end, &markdown(entries));
    std::fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}
