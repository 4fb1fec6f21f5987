//! The sure way through a payload: serde_json, which goes through all of it and says what is wrong with it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::slots::{Keep, Node, Slot};

/// Reads what `node` wants of the JSON text.
///
/// # Errors
/// Where the text is not JSON, or what is wanted cannot be kept.
pub(super) fn read<'m>(text: &'m str, node: &Node, slots: &mut [Slot<'m>]) -> serde_json::Result<()> {
    let mut json = serde_json::Deserializer::from_str(text);
    Read { node, slots }.deserialize(&mut json)?;
    json.end()
}

/// Goes through the JSON text and keeps nothing of it.
///
/// # Errors
/// Where it is not JSON.
pub(super) fn skip(text: &str) -> serde_json::Result<()> {
    let mut json = serde_json::Deserializer::from_str(text);
    <IgnoredAny as serde::Deserialize>::deserialize(&mut json)?;
    json.end()
}

/// Reads what a node wants of a JSON value, and skips the rest of it.
struct Read<'n, 's, 'm> {
    node: &'n Node,
    slots: &'s mut [Slot<'m>],
}

impl Read<'_, '_, '_> {
    fn no_object<E>(self) -> Result<(), E> {
        self.node.mark(self.slots, || Slot::NoObject, || Slot::NoObject);
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
        self.node.mark(self.slots, || Slot::Missing, || Slot::Absent);
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
