//! Values that know where they were written.

use std::collections::BTreeMap;

use toml::Value;

use crate::fault::Origin;

/// The keys of a table.
pub(crate) type Keys = BTreeMap<String, Entry>;

/// A key and its value.
#[derive(Clone)]
pub(crate) struct Entry {
    /// Where the key stands.
    pub(crate) key: Origin,
    /// The value.
    pub(crate) node: Node,
}

/// A value and where it stands. Has no `Debug`: it may hold what must not be shown.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) origin: Origin,
    pub(crate) value: NodeValue,
}

#[derive(Clone)]
pub(crate) enum NodeValue {
    Table(Keys),
    Array(Vec<Node>),
    Leaf(Value),
    Text(Readings),
}

impl NodeValue {
    /// The value where it is no table and no array of the file's.
    pub(crate) fn plain(&self) -> Option<&Value> {
        match self {
            Self::Leaf(value) => Some(value),
            Self::Text(readings) => Some(readings.value()),
            Self::Table(_) | Self::Array(_) => None,
        }
    }
}

/// The text of a variable, which has no type: what it may mean, the likeliest first.
#[derive(Clone)]
pub(crate) struct Readings {
    all: Vec<Value>,
    now: usize,
    settled: bool,
}

impl Readings {
    /// Reads `text` as a TOML value, as itself, and as a list with commas.
    pub(crate) fn of(text: &str) -> Self {
        let value = |text: &str| toml_value(text).filter(|value| !value.is_table());
        let parts = || text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let as_text = |part: &str| Value::String(part.to_owned());
        let mut all: Vec<Value> = value(text).into_iter().collect();
        all.push(as_text(text));
        all.push(Value::Array(parts().map(|part| value(part).unwrap_or_else(|| as_text(part))).collect()));
        all.push(Value::Array(parts().map(as_text).collect()));
        all.dedup();
        Self { all, now: 0, settled: false }
    }

    /// What the text means now.
    pub(crate) fn value(&self) -> &Value {
        &self.all[self.now]
    }

    /// Goes on to the next meaning; after the last it returns to the first for good and answers false.
    pub(crate) fn advance(&mut self) -> bool {
        if self.settled {
            return false;
        }
        self.now = (self.now + 1) % self.all.len();
        self.settled = self.now == 0;
        true
    }
}

/// Reads a text as one TOML value.
pub(crate) fn toml_value(text: &str) -> Option<Value> {
    // A newline would end the value and begin another key.
    if text.contains(['\n', '\r']) {
        return None;
    }
    let table: toml::Table = format!("value = {text}").parse().ok()?;
    table.into_iter().next().map(|(_, value)| value)
}

/// Lays `over` on `base`: tables merge, all else is replaced.
pub(crate) fn overlay(base: &mut Keys, over: Keys) {
    for (name, entry) in over {
        match (base.get_mut(&name).map(|below| &mut below.node.value), entry.node.value) {
            (Some(NodeValue::Table(below)), NodeValue::Table(above)) => overlay(below, above),
            (_, value) => {
                let node = Node { origin: entry.node.origin, value };
                base.insert(name, Entry { key: entry.key, node });
            }
        }
    }
}

/// Follows `path` as far as there are keys: their real names, and whether that is the whole path.
///
/// A key may hold dots, which an engine's error cannot always tell from levels, so both are tried.
pub(crate) fn trace(keys: &Keys, path: &[String]) -> (Vec<String>, bool) {
    let (mut keys, mut rest, mut names) = (Some(keys), path, Vec::new());
    while let Some(here) = keys.filter(|_| !rest.is_empty()) {
        let joined = (1..=rest.len()).map(|count| (rest[..count].join("."), count));
        let Some((name, count)) = joined.into_iter().find(|(name, _)| here.contains_key(name)) else { break };
        rest = &rest[count..];
        keys = here.get(&name).and_then(|entry| match &entry.node.value {
            NodeValue::Table(below) => Some(below),
            _ => None,
        });
        names.push(name);
    }
    (names, rest.is_empty())
}

/// Where the thing stands that `path` leads to, through tables and through arrays, whose items count from 1; where it ends
/// early, the last thing on the way that is there.
pub(crate) fn place_within(node: &Node, path: &[String], at_key: bool) -> Origin {
    let Some((first, rest)) = path.split_first() else { return node.origin.clone() };
    match &node.value {
        NodeValue::Table(keys) => match keys.get(first) {
            Some(entry) if rest.is_empty() && at_key => entry.key.clone(),
            Some(entry) => place_within(&entry.node, rest, at_key),
            None => node.origin.clone(),
        },
        NodeValue::Array(items) => {
            let item = first.parse::<usize>().ok().and_then(|number| items.get(number.checked_sub(1)?));
            item.map_or_else(|| node.origin.clone(), |item| place_within(item, rest, at_key))
        }
        NodeValue::Leaf(_) | NodeValue::Text(_) => node.origin.clone(),
    }
}

/// The entry that real names lead to.
pub(crate) fn entry_mut<'a>(keys: &'a mut Keys, names: &[String]) -> Option<&'a mut Entry> {
    let (name, rest) = names.split_first()?;
    let entry = keys.get_mut(name)?;
    if rest.is_empty() {
        return Some(entry);
    }
    match &mut entry.node.value {
        NodeValue::Table(below) => entry_mut(below, rest),
        _ => None,
    }
}

/// Takes the entry at `path` out; tells whether there was one.
pub(crate) fn remove(keys: &mut Keys, path: &[String]) -> bool {
    let (names, true) = trace(keys, path) else { return false };
    let Some((last, above)) = names.split_last() else { return false };
    let table = if above.is_empty() {
        Some(keys)
    } else {
        entry_mut(keys, above).and_then(|entry| match &mut entry.node.value {
            NodeValue::Table(below) => Some(below),
            _ => None,
        })
    };
    table.is_some_and(|table| table.remove(last).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meanings(text: &str) -> Vec<String> {
        let mut readings = Readings::of(text);
        let mut all = Vec::new();
        loop {
            all.push(format!("{:?}", readings.value()));
            if !readings.advance() || readings.settled {
                return all;
            }
        }
    }

    #[test]
    fn the_text_of_a_variable_has_its_meanings_in_order() {
        let (five, text) = ("Integer(5)", "String(\"5\")");
        assert_eq!(meanings("5"), [five, text, &format!("Array([{five}])"), &format!("Array([{text}])")]);
        assert_eq!(meanings("30s"), ["String(\"30s\")", "Array([String(\"30s\")])"]);
        let list = "Array([String(\"a:1\"), String(\"b:2\")])";
        assert_eq!(meanings("a:1, b:2"), ["String(\"a:1, b:2\")", list]);
        assert_eq!(meanings("[5]")[..2], ["Array([Integer(5)])", "String(\"[5]\")"]);
        assert_eq!(meanings("5\nx = 1")[0], "String(\"5\\nx = 1\")");
    }

    #[test]
    fn the_last_meaning_leads_back_to_the_first_for_good() {
        let mut readings = Readings::of("true");
        let steps = std::iter::from_fn(|| readings.advance().then_some(())).count();
        assert_eq!((steps, readings.value()), (4, &Value::Boolean(true)));
    }
}
