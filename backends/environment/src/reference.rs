//! Secrets by reference: `env:NAME` and `file:PATH` become values at the last moment, and hide again in messages.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::fault::{Faults, Origin};
use crate::secret::{is_reference, is_secret};
use crate::tree::{Keys, Node, NodeValue};
use crate::variables::Variables;

/// The most bytes of a file that holds a secret.
const MOST_BYTES: u64 = 64 << 10;

/// Looks references up, each once, and remembers what must not be shown. Has no `Debug`: it holds secrets.
pub(crate) struct References<'a> {
    variables: &'a Variables,
    base: PathBuf,
    known: BTreeMap<String, Result<String, String>>,
    hidden: Vec<(String, String)>,
}

impl<'a> References<'a> {
    /// References to `variables`, and to files relative to the folder `base`.
    pub(crate) fn new(variables: &'a Variables, base: &Path) -> Self {
        Self { variables, base: base.to_owned(), known: BTreeMap::new(), hidden: Vec::new() }
    }

    fn look_up(&mut self, reference: &str) -> Result<String, String> {
        if let Some(known) = self.known.get(reference) {
            return known.clone();
        }
        let found = match reference.split_once(':') {
            Some(("env", name)) if !name.is_empty() => self
                .variables
                .value(name)
                .map(str::to_owned)
                .map_err(|fault| format!("`{reference}`: the variable {fault}; set it")),
            Some(("file", path)) if !path.is_empty() => {
                read(&self.base.join(path)).map_err(|fault| format!("`{reference}`: {fault}"))
            }
            _ => Err(format!("`{reference}` names nothing; write `env:NAME` or `file:PATH`")),
        };
        if let Ok(value) = &found {
            self.hide(value, reference);
        }
        self.known.insert(reference.to_owned(), found.clone());
        found
    }

    fn hide(&mut self, value: &str, shown: &str) {
        if !value.is_empty() {
            self.hidden.push((value.to_owned(), shown.to_owned()));
            // The longest first, so that a secret within another hides no half of it.
            self.hidden.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
            self.hidden.dedup();
        }
    }

    /// Makes the table that an engine gets; a reference that leads nowhere is a fault and stays as it is.
    pub(crate) fn table(&mut self, subject: &str, keys: &Keys, faults: &mut Faults) -> Table {
        let value = |(key, entry): (&String, &crate::tree::Entry)| {
            let subject = format!("{subject}.{key}");
            (key.clone(), self.value(&subject, key, &entry.node, faults))
        };
        keys.iter().map(value).collect()
    }

    fn value(&mut self, subject: &str, key: &str, node: &Node, faults: &mut Faults) -> Value {
        match &node.value {
            NodeValue::Table(keys) => Value::Table(self.table(subject, keys, faults)),
            NodeValue::Array(items) => {
                Value::Array(items.iter().map(|item| self.value(subject, key, item, faults)).collect())
            }
            NodeValue::Leaf(value) => self.resolved(subject, key, value, &node.origin, faults),
            NodeValue::Text(readings) => self.resolved(subject, key, readings.value(), &node.origin, faults),
        }
    }

    fn resolved(
        &mut self,
        subject: &str,
        key: &str,
        value: &Value,
        origin: &Origin,
        faults: &mut Faults,
    ) -> Value {
        match value {
            Value::String(text) if is_reference(text) => match self.look_up(text) {
                Ok(secret) => Value::String(secret),
                Err(fault) => {
                    faults.add(origin.clone(), subject, fault);
                    value.clone()
                }
            },
            Value::String(text) => {
                if is_secret(key, text) {
                    let shown = match origin {
                        Origin::Variable(name) => name.to_string(),
                        _ => "(hidden)".to_owned(),
                    };
                    self.hide(text, &shown);
                }
                value.clone()
            }
            Value::Array(items) => Value::Array(
                items.iter().map(|item| self.resolved(subject, key, item, origin, faults)).collect(),
            ),
            _ => value.clone(),
        }
    }

    /// What takes the secrets out of messages.
    pub(crate) fn redaction(&self) -> Redaction {
        Redaction(self.hidden.clone())
    }
}

/// Takes secrets out of what an engine says. Has no `Debug`: it holds them.
#[derive(Clone)]
pub(crate) struct Redaction(Vec<(String, String)>);

impl Redaction {
    /// Puts the reference in the place of each secret, also of one that was escaped as `{:?}` does.
    pub(crate) fn clean(&self, message: &str) -> String {
        let mut clean = message.to_owned();
        for (value, shown) in &self.0 {
            let escaped = format!("{value:?}");
            clean = clean.replace(value.as_str(), shown);
            clean = clean.replace(&escaped[1..escaped.len() - 1], shown);
        }
        clean
    }
}

/// Reads a file's text without its last line end; says what is wrong otherwise.
fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file =
        std::fs::File::open(path).map_err(|fault| format!("cannot open the file: {}", fault.kind()))?;
    let read = file.take(MOST_BYTES + 1).read_to_string(&mut text);
    read.map_err(|fault| format!("cannot read the file: {}", fault.kind()))?;
    if text.len() as u64 > MOST_BYTES {
        return Err(format!("the file is longer than {MOST_BYTES} bytes, which no secret is"));
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() { Err("the file is empty".to_owned()) } else { Ok(line.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_shows_the_reference_and_not_the_secret() {
        let hidden =
            vec![("a\"b\nc".to_owned(), "env:LONG".to_owned()), ("a\"b".to_owned(), "env:SHORT".to_owned())];
        let clean = Redaction(hidden).clean("invalid: string \"a\\\"b\\nc\", not a\"b or a\"b\nc");
        assert_eq!(clean, "invalid: string \"env:LONG\", not env:SHORT or env:LONG");
    }
}
