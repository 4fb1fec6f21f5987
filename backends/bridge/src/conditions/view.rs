//! What the rules see of one message: its fields in slots, borrowed from it wherever its bytes say them as they are.
//!
//! ```text
//!  {"id":7,"event":"user_login","user":{"id":9,"tags":["a","b"]}, ..}
//!     skipped   └► slot 0: borrowed     └► slot 1 (payload.user.id): 9, the rest of it skipped, and checked to be JSON
//! ```

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;
use cel::common::types::{
    CelBool, CelBytes, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt,
};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use onex_spi::bridge::{BridgeMessage, MessageFormat};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::paths::{Path, Paths, Root, slot};
use super::scan;

/// A field of one message.
#[derive(Debug)]
pub(super) enum Slot<'m> {
    /// It is not there, and neither is the object in which it would be.
    Absent,
    /// It is not there.
    Missing,
    /// What should be an object with it is something else.
    NoObject,
    Null(CelNull),
    Bool(CelBool),
    Int(CelInt),
    UInt(CelUInt),
    Double(CelDouble),
    Text(CelString<'m>),
    Bytes(CelBytes<'m>),
    /// A list or a map.
    Tree(Box<dyn Val + 'm>),
}

impl<'m> Slot<'m> {
    /// The value, where there is one.
    pub(super) fn value(&self) -> Option<&(dyn Val + 'm)> {
        match self {
            Self::Absent | Self::Missing | Self::NoObject => None,
            Self::Null(value) => Some(value),
            Self::Bool(value) => Some(value),
            Self::Int(value) => Some(value),
            Self::UInt(value) => Some(value),
            Self::Double(value) => Some(value),
            Self::Text(value) => Some(value),
            Self::Bytes(value) => Some(value),
            Self::Tree(value) => Some(&**value),
        }
    }

    fn boxed(self) -> Box<dyn Val + 'm> {
        match self {
            Self::Absent | Self::Missing | Self::NoObject | Self::Null(_) => Box::new(CelNull),
            Self::Bool(value) => Box::new(value),
            Self::Int(value) => Box::new(value),
            Self::UInt(value) => Box::new(value),
            Self::Double(value) => Box::new(value),
            Self::Text(value) => Box::new(value),
            Self::Bytes(value) => Box::new(value),
            Self::Tree(value) => value,
        }
    }

    /// Text where the bytes are text, else bytes.
    fn of_bytes(bytes: &'m Bytes) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.into()),
            Err(_) => Self::Bytes(CelBytes::from(&bytes[..])),
        }
    }
}

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

/// What is wanted of an object of the payload.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) slot: Option<usize>,
    pub(super) below: Vec<(Box<str>, Node)>,
}

impl Reader {
    pub(super) fn new(paths: &Paths, format: MessageFormat) -> Self {
        let (mut payload, mut aside) = (Node::default(), Vec::new());
        for (slot, path) in paths.iter().enumerate() {
            if path.root != Root::Payload {
                aside.push((slot, path.clone()));
                continue;
            }
            let mut node = &mut payload;
            for name in &path.names {
                let place = match node.below.iter().position(|(known, _)| **known == **name) {
                    Some(place) => place,
                    None => {
                        node.below.push((name.as_str().into(), Node::default()));
                        node.below.len() - 1
                    }
                };
                node = &mut node.below[place].1;
            }
            node.slot = Some(slot);
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
        let mut json = serde_json::Deserializer::from_str(text);
        let read =
            Read { node: &self.payload, slots: &mut *slots }.deserialize(&mut json).and_then(|()| json.end());
        let Err(error) = read else { return Ok(()) };
        // What is JSON, and cannot be kept, such as a number beyond every number type, is a matter of the rules that read it.
        let mut json = serde_json::Deserializer::from_str(text);
        let skipped = <IgnoredAny as serde::Deserialize>::deserialize(&mut json).and_then(|_| json.end());
        Err(match skipped {
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

/// Reads what a node wants of a JSON value, and skips the rest of it.
struct Read<'n, 's, 'm> {
    node: &'n Node,
    slots: &'s mut [Slot<'m>],
}

/// Says of all that is wanted below a node: `below` of this object, `deeper` further down.
pub(super) fn mark<'m>(
    node: &Node,
    slots: &mut [Slot<'m>],
    below: fn() -> Slot<'m>,
    deeper: fn() -> Slot<'m>,
) {
    for (_, node) in &node.below {
        if let Some(slot) = node.slot {
            slots[slot] = below();
        }
        mark(node, slots, deeper, deeper);
    }
}

impl Read<'_, '_, '_> {
    fn no_object<E>(self) -> Result<(), E> {
        mark(self.node, self.slots, || Slot::NoObject, || Slot::NoObject);
        Ok(())
    }
}

impl<'m> DeserializeSeed<'m> for Read<'_, '_, 'm> {
    type Value = ();

    fn deserialize<D: Deserializer<'m>>(self, deserializer: D) -> Result<(), D::Error> {
        if let Some(slot) = self.node.slot {
            self.slots[slot] = Keep.deserialize(deserializer)?;
            return Ok(());
        }
        if self.node.below.is_empty() {
            return deserializer.deserialize_ignored_any(IgnoredAny).map(|_| ());
        }
        deserializer.deserialize_any(self)
    }
}

impl<'m> Visitor<'m> for Read<'_, '_, 'm> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'m>>(self, mut map: A) -> Result<(), A::Error> {
        // Also where an object comes again under the same name: the last one counts, as in every JSON object.
        mark(self.node, self.slots, || Slot::Missing, || Slot::Absent);
        while let Some(wanted) = map.next_key_seed(Name(&self.node.below))? {
            match wanted {
                Some(node) => map.next_value_seed(Read { node, slots: self.slots })?,
                None => map.next_value::<IgnoredAny>().map(|_| ())?,
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'m>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        self.no_object()
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.no_object()
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.no_object()
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.no_object()
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.no_object()
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.no_object()
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.no_object()
    }
}

/// Reads a name of an object: the node of it, where something is wanted of it.
struct Name<'n>(&'n [(Box<str>, Node)]);

impl<'m, 'n> DeserializeSeed<'m> for Name<'n> {
    type Value = Option<&'n Node>;

    fn deserialize<D: Deserializer<'m>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'n> Visitor<'_> for Name<'n> {
    type Value = Option<&'n Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().find(|(known, _)| **known == *name).map(|(_, node)| node))
    }
}

/// Keeps a JSON value whole.
pub(super) struct Keep;

impl<'m> DeserializeSeed<'m> for Keep {
    type Value = Slot<'m>;

    fn deserialize<D: Deserializer<'m>>(self, deserializer: D) -> Result<Slot<'m>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'m> Visitor<'m> for Keep {
    type Value = Slot<'m>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Slot<'m>, E> {
        Ok(Slot::Null(CelNull))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Slot<'m>, E> {
        Ok(Slot::Bool(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Slot<'m>, E> {
        Ok(Slot::Int(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Slot<'m>, E> {
        Ok(i64::try_from(value).map_or_else(|_| Slot::UInt(value.into()), |value| Slot::Int(value.into())))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Slot<'m>, E> {
        Ok(Slot::Double(value.into()))
    }

    fn visit_borrowed_str<E>(self, value: &'m str) -> Result<Slot<'m>, E> {
        Ok(Slot::Text(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Slot<'m>, E> {
        Ok(Slot::Text(value.to_owned().into()))
    }

    fn visit_seq<A: SeqAccess<'m>>(self, mut seq: A) -> Result<Slot<'m>, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = seq.next_element_seed(Self)? {
            list.push(value.boxed());
        }
        Ok(Slot::Tree(Box::new(CelList::from(list))))
    }

    fn visit_map<A: MapAccess<'m>>(self, mut map: A) -> Result<Slot<'m>, A::Error> {
        let mut entries: HashMap<CelMapKey<'m>, Box<dyn Val + 'm>> = HashMap::new();
        while let Some(name) = map.next_key_seed(Self)? {
            let Slot::Text(name) = name else { return Err(A::Error::custom("a name is text")) };
            entries.insert(CelMapKey::String(name), map.next_value_seed(Self)?.boxed());
        }
        Ok(Slot::Tree(Box::new(CelMap::from(entries))))
    }
}
