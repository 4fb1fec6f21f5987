//! The variables of the process: the layer above the file.
//!
//! ```text
//!  ONEX__KAFKA__BOOTSTRAP_SERVERS=a:9092,b:9092   ─►   kafka.bootstrap_servers = ["a:9092", "b:9092"]
//!  ONEX__HTTP__CLIENT__MAX_REDIRECTS=3            ─►   http.client.max_redirects = 3
//! ```

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;

use toml::Value;

use crate::fault::{Faults, Origin, listed};
use crate::names::{port_of, sections};
use crate::secret::is_secret;
use crate::tree::{Entry, Keys, Node, NodeValue, Readings, toml_value};

const PREFIX: &str = "ONEX__";

/// The most levels of a name; the depth that a file may have, too.
const MOST_LEVELS: usize = 80;

/// What a process was given; a value is `None` where it is no text. Shows names only.
#[derive(Clone, Default)]
pub(crate) struct Variables(BTreeMap<String, Option<String>>);

impl Variables {
    pub(crate) fn of_process() -> Self {
        // A name that is no text cannot be asked for.
        let named =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()));
        Self(std::env::vars_os().filter_map(named).collect())
    }

    pub(crate) fn of(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name, Some(value))).collect())
    }

    /// The value of a variable.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(crate) fn value(&self, name: &str) -> Result<&str, &'static str> {
        match self.0.get(name) {
            None => Err("is not set"),
            Some(None) => Err("is not UTF-8"),
            Some(Some(value)) if value.is_empty() => Err("is empty"),
            Some(Some(value)) => Ok(value),
        }
    }

    /// What the variables named `ONEX__..` lay over the file; sections that are known, and nothing else.
    pub(crate) fn tree(&self, faults: &mut Faults) -> Keys {
        let mut tree = Keys::new();
        for (name, value) in &self.0 {
            let Some(path) = name.strip_prefix(PREFIX) else { continue };
            let origin = Origin::Variable(Arc::from(name.as_str()));
            let Some(value) = value else {
                faults.add(origin, "", "the value is not UTF-8");
                continue;
            };
            let path: Vec<String> = path.split("__").map(str::to_lowercase).collect();
            if path.len() > MOST_LEVELS {
                faults.add(origin, "", format!("names a key below {MOST_LEVELS} levels"));
            } else if path.len() < 2 || path.iter().any(String::is_empty) {
                faults.add(origin, "", "names no key; write ONEX__SECTION__KEY, such as ONEX__KAFKA__ENGINE");
            } else if port_of(&path[0]).is_none() {
                let known = listed(sections());
                faults.add(origin, "", format!("unknown section `{}`; known: {known}", path[0]));
            } else if let Err(message) = insert(&mut tree, &path, &origin, value) {
                faults.add(origin, &path.join("."), message);
            }
        }
        tree
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn insert(keys: &mut Keys, path: &[String], origin: &Origin, text: &str) -> Result<(), &'static str> {
    let [name, rest @ ..] = path else { return Err("names no key") };
    if rest.is_empty() {
        let node = Node { origin: origin.clone(), value: meaning(name, origin, text) };
        let twice = keys.insert(name.clone(), Entry { key: origin.clone(), node }).is_some();
        return if twice { Err("another variable sets the same key or a part of it") } else { Ok(()) };
    }
    let table = || Node { origin: origin.clone(), value: NodeValue::Table(Keys::new()) };
    let entry = keys.entry(name.clone()).or_insert_with(|| Entry { key: origin.clone(), node: table() });
    match &mut entry.node.value {
        NodeValue::Table(below) => insert(below, rest, origin, text),
        _ => Err("another variable sets the table that this key stands in"),
    }
}

fn meaning(key: &str, origin: &Origin, text: &str) -> NodeValue {
    if is_secret(key, text) || key == "engine" {
        return NodeValue::Leaf(Value::String(text.to_owned()));
    }
    match toml_value(text) {
        Some(Value::Table(table)) => node_of(Value::Table(table), origin).value,
        _ => NodeValue::Text(Readings::of(text)),
    }
}

fn node_of(value: Value, origin: &Origin) -> Node {
    let value = match value {
        Value::Table(table) => {
            let entry = |(name, value)| (name, Entry { key: origin.clone(), node: node_of(value, origin) });
            NodeValue::Table(table.into_iter().map(entry).collect())
        }
        Value::Array(items) => {
            NodeValue::Array(items.into_iter().map(|item| node_of(item, origin)).collect())
        }
        leaf => NodeValue::Leaf(leaf),
    };
    Node { origin: origin.clone(), value }
}
