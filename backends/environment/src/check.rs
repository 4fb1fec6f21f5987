//! Shows a section to the one who reads it, and finds the line of each key that is refused.
//!
//! ```text
//!  keys ─► table, secrets resolved ─► judge ─► KeyError ─► a variable that can be read otherwise? read it so, again
//!                                                 │
//!                                                 └► a fault with its place; the key is taken out, again: who reads
//!                                                    a config stops at its first fault, the file shall not
//! ```

use std::collections::BTreeSet;

use onex_spi::provider::KeyError;
use toml::Table;

use crate::fault::{Faults, Origin};
use crate::reference::References;
use crate::tree::{Keys, NodeValue, entry_mut, place_within, remove, trace};

/// What kind of refusal a message tells, by the words that serde uses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// A key that nobody knows; taking it out changes nothing else.
    Unknown,
    /// A value of the wrong shape; taking it out lets a default in.
    Shape,
    /// A key that is not there.
    Missing,
    /// A rule of the reader's own; it may see a default that was let in, and is then not believed.
    Rule,
}

impl Refusal {
    fn of(message: &str) -> Self {
        let starts = |words: &[&str]| words.iter().any(|word| message.starts_with(word));
        if starts(&["unknown field"]) {
            Self::Unknown
        } else if starts(&["invalid type", "invalid value", "invalid length", "unknown variant"]) {
            Self::Shape
        } else if starts(&["missing field"]) {
            Self::Missing
        } else {
            Self::Rule
        }
    }
}

/// Checks `keys`, which stand at `home` and are told as `subject`, with `judge`; answers the table it accepted.
///
/// The table is worth something only if no fault was added; then `keys` are as they were read last.
pub(crate) fn check(
    subject: &str,
    home: &Origin,
    keys: &mut Keys,
    references: &mut References<'_>,
    faults: &mut Faults,
    judge: &dyn Fn(&Table) -> Vec<KeyError>,
) -> Table {
    let known = faults.origins();
    let mut taken_out: BTreeSet<Vec<String>> = BTreeSet::new();
    let mut default_let_in = false;
    loop {
        let mut unresolved = Faults::default();
        let table = references.table(subject, keys, &mut unresolved);
        let refused = judge(&table);
        if refused.iter().any(|error| read_otherwise(keys, &error.path)) {
            continue;
        }
        let wrong_at = |origin: &Origin| unresolved.at(origin) || known.contains(origin);
        let mut found = Vec::new();
        for error in refused {
            let refusal = Refusal::of(&error.message);
            let missing_by_us = refusal == Refusal::Missing && taken_out.contains(&error.path);
            if !missing_by_us && (refusal != Refusal::Rule || !default_let_in) {
                let (origin, told) = place(keys, home, &error.path, refusal, wrong_at);
                found.push((error, refusal, origin, told));
            }
        }
        let mut again = false;
        for (error, refusal, origin, told) in found {
            if !told {
                let path = std::iter::once(subject).chain(error.path.iter().map(String::as_str));
                let path = path.collect::<Vec<_>>().join(".");
                faults.add(origin, &path, references.redaction().clean(&error.message));
            }
            if remove(keys, &error.path) {
                default_let_in |= refusal != Refusal::Unknown;
                taken_out.insert(error.path);
                again = true;
            }
        }
        faults.append(unresolved);
        if !again {
            return table;
        }
    }
}

fn read_otherwise(keys: &mut Keys, path: &[String]) -> bool {
    let (names, _) = trace(keys, path);
    match entry_mut(keys, &names).map(|entry| &mut entry.node.value) {
        Some(NodeValue::Text(readings)) => readings.advance(),
        _ => false,
    }
}

/// Where a refused key stands, and whether something is known to be wrong there.
fn place(
    keys: &mut Keys,
    home: &Origin,
    path: &[String],
    refusal: Refusal,
    wrong_at: impl Fn(&Origin) -> bool,
) -> (Origin, bool) {
    let (names, exact) = trace(keys, path);
    let Some(entry) = entry_mut(keys, &names) else { return (home.clone(), false) };
    if !exact && names.iter().eq(&path[..names.len()]) && matches!(entry.node.value, NodeValue::Array(_)) {
        // Into an array: no key can be taken out there, so who judges tells all at once.
        let origin = place_within(&entry.node, &path[names.len()..], refusal == Refusal::Unknown);
        let known = wrong_at(&origin);
        return (origin, known);
    }
    let known = exact && (wrong_at(&entry.key) || holds(&entry.node.value, &entry.node.origin, &wrong_at));
    let at_key = refusal == Refusal::Unknown || !exact;
    (if at_key { entry.key.clone() } else { entry.node.origin.clone() }, known)
}

fn holds(value: &NodeValue, origin: &Origin, wrong_at: &impl Fn(&Origin) -> bool) -> bool {
    wrong_at(origin)
        || match value {
            NodeValue::Array(items) => items.iter().any(|item| holds(&item.value, &item.origin, wrong_at)),
            _ => false,
        }
}
