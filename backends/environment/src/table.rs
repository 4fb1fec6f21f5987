//! Tables of the file that are the program's own: they stand beside the profiles, and one of each holds for all of them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use onex_spi::provider::{KeyError, Port};
use toml::Table;

use crate::check::check;
use crate::fault::{Faults, Origin};
use crate::layer::refuse_literal;
use crate::reference::References;
use crate::tree::{Keys, Node, NodeValue, place_within};

/// Judges a table, given the ports that the profile has engines for.
type Judge = Arc<dyn Fn(&Table, &[Port]) -> Vec<KeyError> + Send + Sync>;

/// A table that the program knows.
#[derive(Clone)]
pub(crate) struct OwnTable {
    pub(crate) name: String,
    judge: Judge,
}

impl OwnTable {
    pub(crate) fn new(
        name: &str,
        judge: impl Fn(&Table, &[Port]) -> Vec<KeyError> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.to_owned(), judge: Arc::new(judge) }
    }

    /// Takes the table out of the document; `None` where it is not there, or is no table.
    pub(crate) fn take(&self, document: &mut Keys, faults: &mut Faults) -> Option<(Origin, Keys)> {
        let entry = document.remove(&self.name)?;
        refuse_literal(&self.name, &self.name, &entry.node, faults);
        match entry.node.value {
            NodeValue::Table(keys) => Some((entry.key, keys)),
            _ => {
                let message = format!("must be a table; write [{}.NAME]", self.name);
                faults.add(entry.node.origin, &self.name, message);
                None
            }
        }
    }

    /// Reads the table that stands at `home`, and adds what is wrong with it.
    pub(crate) fn read(
        &self,
        (home, mut keys): (Origin, Keys),
        ports: &[Port],
        references: &mut References<'_>,
        faults: &mut Faults,
    ) -> ReadTable {
        // Who judges may take keys out; their places stay.
        let places = keys.clone();
        let table =
            check(&self.name, &home, &mut keys, references, faults, &|table| (self.judge)(table, ports));
        ReadTable { home, places, table }
    }
}

impl fmt::Debug for OwnTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnTable").field(&self.name).finish()
    }
}

/// A table that was read. Has no `Debug`: it may hold secrets.
pub(crate) struct ReadTable {
    home: Origin,
    places: Keys,
    table: Table,
}

/// What an environment keeps of the tables until the program takes them.
#[derive(Default)]
pub(crate) struct Tables(BTreeMap<String, ReadTable>);

impl Tables {
    pub(crate) fn insert(&mut self, name: String, read: ReadTable) {
        self.0.insert(name, read);
    }

    /// Takes the values, which may be secrets; the places stay.
    pub(crate) fn take(&mut self, name: &str) -> Option<Table> {
        self.0.get_mut(name).map(|read| std::mem::take(&mut read.table))
    }

    /// Where the thing stands that `path` leads to, or the last one on the way that is there.
    pub(crate) fn place(&self, path: &[&str]) -> Option<Origin> {
        let (name, path) = path.split_first()?;
        let read = self.0.get(*name)?;
        let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
        let root = Node { origin: read.home.clone(), value: NodeValue::Table(read.places.clone()) };
        Some(place_within(&root, &path, true))
    }
}
