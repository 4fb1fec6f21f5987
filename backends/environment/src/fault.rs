//! What is wrong with a file, and where: collected, never thrown at the first.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use onex_spi::Error;

/// The call that every fault of a file is told by.
pub(crate) const LOAD: &str = "environment.load";

/// Where a key or a value was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// In the file; both count from 1, columns in characters.
    File { line: usize, column: usize },
    /// In a variable of the process.
    Variable(Arc<str>),
    /// In the calls of the builder.
    Program,
}

impl Origin {
    /// The first character of the file: the place of what is missing from it.
    pub(crate) const TOP: Self = Self::File { line: 1, column: 1 };

    /// Writes the place as editors know it.
    pub(crate) fn show(&self, file: &str) -> String {
        match self {
            Self::File { line, column } => format!("{file}:{line}:{column}"),
            Self::Variable(name) => format!("variable {name}"),
            Self::Program => "program".to_owned(),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fault {
    origin: Origin,
    text: String,
}

/// Everything that is wrong, each thing once.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    /// Adds a fault about `subject` (a dotted key, empty = none) unless it is known.
    pub(crate) fn add(&mut self, origin: Origin, subject: &str, message: impl fmt::Display) {
        let separator = if subject.is_empty() { "" } else { ": " };
        let fault = Fault { origin, text: format!("{subject}{separator}{message}") };
        if !self.0.contains(&fault) {
            self.0.push(fault);
        }
    }

    /// Adds what others found.
    pub(crate) fn append(&mut self, others: Self) {
        others.0.into_iter().for_each(|fault| {
            if !self.0.contains(&fault) {
                self.0.push(fault);
            }
        });
    }

    /// Whether something is wrong at exactly that place.
    pub(crate) fn at(&self, origin: &Origin) -> bool {
        self.0.iter().any(|fault| fault.origin == *origin)
    }

    /// Where something is wrong.
    pub(crate) fn origins(&self) -> BTreeSet<Origin> {
        self.0.iter().map(|fault| fault.origin.clone()).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes the one error, its faults in the order of the file.
    pub(crate) fn into_error(mut self, file: &str, profile: &str) -> Error {
        self.0.sort();
        let mut message = format!("{file} does not describe the profile `{profile}`:");
        for fault in &self.0 {
            // A message of many lines would look like many faults.
            let text = fault.text.replace('\n', " ");
            message.push_str(&format!("\n  {}: {text}", fault.origin.show(file)));
        }
        let (count, plural) = (self.0.len(), if self.0.len() == 1 { "" } else { "s" });
        message.push_str(&format!("\n{count} error{plural}; nothing was opened"));
        Error::invalid(LOAD, message)
    }
}

/// Lists names for a message, each in back quotes; `none` where there are none.
pub(crate) fn listed<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("`{}`", name.as_ref())).collect();
    if quoted.is_empty() { "none".to_owned() } else { quoted.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_once_in_the_order_of_the_file() {
        let mut faults = Faults::default();
        faults.add(Origin::Program, "", "third");
        faults.add(Origin::File { line: 10, column: 1 }, "b", "second");
        faults.add(Origin::File { line: 9, column: 7 }, "a", "first\nin two lines");
        faults.add(Origin::File { line: 9, column: 7 }, "a", "first\nin two lines");
        assert_eq!(
            faults.into_error("x.toml", "test").message(),
            "x.toml does not describe the profile `test`:\n  x.toml:9:7: a: first in two lines\n  \
             x.toml:10:1: b: second\n  program: third\n3 errors; nothing was opened"
        );
    }
}
