//! What both ways through a payload need: what is wanted of it, and the slots that hold what was found.
//!
//! ```text
//!  payload.event, payload.user.id   ─►   Node ┬ "event" ► slot 0          what either way is told
//!                                             └ "user" ── "id" ► slot 1
//! ```

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;
use cel::common::types::{
    CelBool, CelBytes, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt,
};
use cel::common::value::Val;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

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

    pub(super) fn boxed(self) -> Box<dyn Val + 'm> {
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
    pub(super) fn of_bytes(bytes: &'m Bytes) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.into()),
            Err(_) => Self::Bytes(CelBytes::from(&bytes[..])),
        }
    }
}

/// What is wanted of an object of the payload.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) slot: Option<usize>,
    pub(super) below: Vec<(Box<str>, Node)>,
}

impl Node {
    /// Wants the field that `names` lead to, for `slot`.
    pub(super) fn want(&mut self, names: &[String], slot: usize) {
        let Some((name, rest)) = names.split_first() else {
            self.slot = Some(slot);
            return;
        };
        let place = match self.below.iter().position(|(known, _)| **known == **name) {
            Some(place) => place,
            None => {
                self.below.push((name.as_str().into(), Self::default()));
                self.below.len() - 1
            }
        };
        self.below[place].1.want(rest, slot);
    }

    /// Says of all that is wanted below this node: `below` of this object, `deeper` further down.
    pub(super) fn mark<'m>(&self, slots: &mut [Slot<'m>], below: fn() -> Slot<'m>, deeper: fn() -> Slot<'m>) {
        for (_, node) in &self.below {
            if let Some(slot) = node.slot {
                slots[slot] = below();
            }
            node.mark(slots, deeper, deeper);
        }
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
