//! Runs every conformance suite on every engine of this workspace and reports.
//!
//! ```text
//!  engines.rs (what is judged) ─► run.rs (threads, progress) ─► report.rs (JSON) and table.rs (terminal, README)
//! ```
//!
//! `cargo run -p onex-conformance -- [--engine FOLDER].. [--case PREFIX] [--json FILE] [--check README.md]`
//!
//! Exit code 0: no failure. 1: a case failed, or the table in README is not current. 2: the command line is wrong.
#![forbid(unsafe_code)]

mod bridges;
mod engines;
mod report;
mod run;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Judges engines by the conformance suites.
#[derive(Debug, Parser)]
#[command(name = "onex-conformance", version)]
struct Arguments {
    /// Judges only these engines, named by their folder below `backends`; may be repeated
    #[arg(long = "engine", value_name = "FOLDER")]
    engines: Vec<String>,
    /// Runs only cases whose id begins so, such as `kafka.commit`
    #[arg(long = "case", value_name = "PREFIX", default_value = "")]
    prefix: String,
    /// Writes one entry per engine and case: engine, id, outcome, reason
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Fails unless the compatibility table in this file is the one of this run
    #[arg(long, value_name = "FILE", conflicts_with_all = ["engines", "write"])]
    check: Option<PathBuf>,
    /// Writes the compatibility table of this run into this file
    #[arg(long, value_name = "FILE", conflicts_with = "engines")]
    write: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A case that panics on purpose, or by mistake, is told by its outcome; a backtrace in between only hides the progress.
    std::panic::set_hook(Box::new(|panic| eprintln!("panic inside a case, told by its outcome: {panic}")));
    match judge(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("onex-conformance: {message}");
            ExitCode::from(2)
        }
    }
}

fn judge(arguments: &Arguments) -> Result<bool, String> {
    if let Some(unknown) = arguments.engines.iter().find(|name| !engines::FOLDERS.contains(&name.as_str())) {
        return Err(format!("no engine `{unknown}`; known are {}", engines::FOLDERS.join(", ")));
    }
    let all = arguments.engines.is_empty();
    let (subjects, _broker) =
        engines::subjects(|folder| all || arguments.engines.iter().any(|name| name == folder));
    let entries = run::run(subjects, &arguments.prefix);
    if entries.is_empty() {
        return Err(format!("no case begins with `{}`", arguments.prefix));
    }
    print!("{}", table::terminal(&entries));
    if let Some(path) = &arguments.json {
        report::write(path, &entries)?;
    }
    if let Some(path) = &arguments.write {
        table::write(path, &entries)?;
    }
    let current = match &arguments.check {
        Some(path) => table::check(path, &entries)?,
        None => true,
    };
    if !current {
        eprintln!(
            "onex-conformance: the table in README is not that of this run; run with --write README.md"
        );
    }
    Ok(current && report::failures(&entries) == 0)
}
