//! What the rules see of one message: its fields in slots, borrowed from it wherever its bytes say them as they are.
//!
//! ```text
//!  {"id":7,"event":"user_login","user":{"id":9,"tags":["a","b"]}, ..}
//!     skipped   └► slot 0: borrowed     └► slot 1 (payload.user.id): 9, the rest of it skipped, and checked to be JSON
//! ```

use std::collections::HashMap;

use cel::common::types::{CelBool, CelList, CelMap, CelMapKey, CelNull};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use onex_spi::bridge::{BridgeMessage, MessageFormat};

use super::paths::{Path, Paths, Root, slot};
use super::slots::{Node, Slot};
use super::{parse, scan};

/// The fields of one message, for CEL.
pub(super) struct Fields<'s, 'm>(pub(super) &'s [Slot<'m>]);

const TRUE: CelBool = CelBool::TRUE;
const FALSE: CelBool = CelBool::FALSE;

impl VariableResolver for Fields<'_, '_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let (slot, presence) = slot(variable)?;
        let slot = self.0.get(slot)?;
        if !presence {
            return slot.value().map(CowVal::Borrowed);
        }
        match slot {
            // As in CEL, where asking for a field of nothing is an error; here it makes the rule not match.
            Slot::Absent | Slot::NoObject => None,
            Slot::Missing => Some(CowVal::Borrowed(&FALSE)),
            _ => Some(CowVal::Borrowed(&TRUE)),
        }
    }
}

/// How the fields of a set of rules are read from a message.
#[derive(Debug)]
pub(super) struct Reader {
    format: MessageFormat,
    slots: usize,
    payload: Node,
    aside: Vec<(usize, Path)>,
}

impl Reader {
    pub(super) fn new(paths: &Paths, format: MessageFormat) -> Self {
        let (mut payload, mut aside) = (Node::default(), Vec::new());
        for (slot, path) in paths.iter().enumerate() {
            match path.root {
                Root::Payload => payload.want(&path.names, slot),
                _ => aside.push((slot, path.clone())),
            }
        }
        Self { format, slots: paths.len(), payload, aside }
    }

    /// Fills `slots` from a message.
    ///
    /// # Errors
    /// Where the payload is not what the format says.
    pub(super) fn read<'m>(
        &self,
        message: &'m BridgeMessage,
        slots: &mut Vec<Slot<'m>>,
    ) -> Result<(), Unreadable> {
        slots.clear();
        slots.resize_with(self.slots, || Slot::Absent);
        for (slot, path) in &self.aside {
            slots[*slot] = aside(path, message);
        }
        if self.format == MessageFormat::Json { self.read_json(&message.payload, slots) } else { Ok(()) }
    }

    fn read_json<'m>(&self, payload: &'m [u8], slots: &mut [Slot<'m>]) -> Result<(), Unreadable> {
        // Neither way looks at the bytes of skipped strings but for their end, so all bytes are looked at here, once; the
        // strings that are kept need no look of their own then.
        let text = std::str::from_utf8(payload).map_err(|error| Unreadable::NotJson(error.to_string()))?;
        if scan::read(text, &self.payload, slots).is_ok() {
            return Ok(());
        }
        let Err(error) = parse::read(text, &self.payload, slots) else { return Ok(()) };
        // What is JSON, and cannot be kept, such as a number beyond every number type, is a matter of the rules that read it.
        Err(match parse::skip(text) {
            Ok(()) => Unreadable::NotKept(error.to_string()),
            Err(error) => Unreadable::NotJson(error.to_string()),
        })
    }
}

/// Why a payload cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    NotJson(String),
    /// It is JSON, and a field that a rule names cannot be held.
    NotKept(String),
}

/// A field that is not of the payload.
fn aside<'m>(path: &Path, message: &'m BridgeMessage) -> Slot<'m> {
    let names = path.names.as_slice();
    match (path.root, names) {
        (Root::Payload, _) => Slot::Absent,
        (Root::Headers, []) => {
            let mut map = HashMap::new();
            // The first of a name counts, as everywhere.
            for header in message.headers.iter().rev() {
                let value = header.value.as_ref().map_or(Slot::Null(CelNull), Slot::of_bytes);
                map.insert(CelMapKey::from(&*header.name), value.boxed());
            }
            Slot::Tree(Box::new(CelMap::from(map)))
        }
        (Root::Headers, [name, below @ ..]) => {
            match message.headers.iter().find(|header| *header.name == **name).map(|header| &header.value) {
                Some(_) if !below.is_empty() => Slot::NoObject,
                Some(Some(value)) => Slot::of_bytes(value),
                Some(None) => Slot::Null(CelNull),
                None if below.is_empty() => Slot::Missing,
                None => Slot::Absent,
            }
        }
        (Root::Metadata, []) => Slot::Tree(Box::new(CelMap::from(entries(&message.metadata)))),
        (Root::Metadata, [name, below @ ..]) => field(message.metadata.get(name), below),
        (Root::Key, []) => message.key.as_ref().map_or(Slot::Missing, Slot::of_bytes),
        (Root::Topic, []) => field(message.metadata.get("topic"), &[]),
        (Root::Key, _) if message.key.is_none() => Slot::Absent,
        (Root::Topic, _) if !message.metadata.contains_key("topic") => Slot::Absent,
        (Root::Key | Root::Topic, _) => Slot::NoObject,
    }
}

fn field<'m>(value: Option<&'m serde_json::Value>, below: &[String]) -> Slot<'m> {
    match (value, below) {
        (None, []) => Slot::Missing,
        (None, _) => Slot::Absent,
        (Some(value), []) => json(value),
        (Some(serde_json::Value::Object(object)), [name, below @ ..]) => field(object.get(name), below),
        (Some(_), _) => Slot::NoObject,
    }
}

pub(super) fn json(value: &serde_json::Value) -> Slot<'_> {
    use serde_json::Value;
    match value {
        Value::Null => Slot::Null(CelNull),
        Value::Bool(value) => Slot::Bool((*value).into()),
        Value::String(value) => Slot::Text(value.as_str().into()),
        Value::Array(values) => {
            let values: Vec<_> = values.iter().map(|value| json(value).boxed()).collect();
            Slot::Tree(Box::new(CelList::from(values)))
        }
        Value::Object(object) => Slot::Tree(Box::new(CelMap::from(entries(object)))),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => Slot::Int(value.into()),
            (None, Some(value)) => Slot::UInt(value.into()),
            (None, None) => number.as_f64().map_or(Slot::Null(CelNull), |value| Slot::Double(value.into())),
        },
    }
}

fn entries(object: &serde_json::Map<String, serde_json::Value>) -> HashMap<CelMapKey<'_>, Box<dyn Val + '_>> {
    object.iter().map(|(name, value)| (CelMapKey::from(name.as_str()), json(value).boxed())).collect()
}
