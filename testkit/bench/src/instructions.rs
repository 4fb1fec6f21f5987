//! Counts instructions with callgrind, which a busy machine cannot bend.
//!
//! ```text
//!  ONEX_BENCH_INSTRUCTIONS=1 ─► valgrind runs this program again, one side only, 200 and 1,200 operations
//!                               (what the first thread executed in the longer - in the shorter) / 1,000
//! ```

use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs};

const ASK: &str = "ONEX_BENCH_INSTRUCTIONS";
const ONLY: &str = "ONEX_BENCH_ONLY";
const SHORT: u64 = 200;
const LONG: u64 = 1_200;

/// One side of one comparison, run alone under callgrind.
pub(crate) struct Only {
    name: String,
    pub(crate) side: String,
    pub(crate) operations: u64,
}

impl Only {
    /// What this process was started for, if it is such a run.
    pub(crate) fn asked() -> Option<Self> {
        let text = env::var(ONLY).ok()?;
        let mut parts = text.splitn(3, '/');
        let (side, operations) = (parts.next()?.to_owned(), parts.next()?.parse().ok()?);
        Some(Self { name: parts.next()?.to_owned(), side, operations })
    }

    pub(crate) fn is_of(&self, name: &str) -> bool {
        self.name == name
    }
}

/// The instructions of one operation of `side`, where they were asked for.
///
/// # Panics
/// Where they were asked for and cannot be counted: a number that is missing would be read as one that is good.
pub(crate) fn per_operation(name: &str, side: &str) -> Option<f64> {
    env::var_os(ASK)?;
    let counted = |operations| count(name, side, operations).unwrap_or_else(|why| panic!("{name}: {why}"));
    Some((counted(LONG) as f64 - counted(SHORT) as f64) / (LONG - SHORT) as f64)
}

fn count(name: &str, side: &str, operations: u64) -> Result<u64, String> {
    let out = env::temp_dir().join(format!("onex-bench-{}-{side}-{operations}", std::process::id()));
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--separate-threads=yes", "-q"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .env(ONLY, format!("{side}/{operations}/{name}"))
        .env_remove(ASK)
        .stdout(Stdio::null())
        .status()
        .map_err(|error| format!("valgrind does not start ({error}); install it, or unset {ASK}"))?;
    if !status.success() {
        return Err(format!("the run under callgrind ended with {status}"));
    }
    // With threads apart there is a file a thread, and an empty one under the plain name.
    let first = format!("{}-01", out.display());
    let text = fs::read_to_string(&first).map_err(|error| format!("{first}: {error}"))?;
    remove(&out);
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: ")));
    total.and_then(|count| count.trim().parse().ok()).ok_or_else(|| format!("{first} holds no total"))
}

/// Removes the files of one run; one that cannot be removed stays in the temporary folder and does no harm.
fn remove(out: &Path) {
    let _ = fs::remove_file(out);
    for thread in 1.. {
        if fs::remove_file(format!("{}-{thread:02}", out.display())).is_err() {
            break;
        }
    }
}
