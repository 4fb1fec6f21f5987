//! One layer of settings: `[default]`, a profile, or the variables, taken apart into sections.

use std::collections::BTreeMap;

use onex_spi::provider::Port;
use toml::Value;

use crate::fault::{Faults, Origin, listed};
use crate::names::{DEFAULT, policy_of, port_of, sections};
use crate::secret::{holds_password, is_reference, names_secret};
use crate::tree::{Entry, Keys, Node, NodeValue, overlay};

/// What a layer says about one port.
pub(crate) struct Section {
    /// Where the section begins; the place of what it lacks.
    pub(crate) home: Origin,
    /// The engine that it names, and where; an empty name was refused already.
    pub(crate) engine: Option<(Origin, String)>,
    /// The engine's keys.
    pub(crate) keys: Keys,
    /// The policy's keys, and where their table begins.
    pub(crate) policy: Option<(Origin, Keys)>,
}

impl Section {
    /// Lays `over` on this section: another engine discards the keys of the engine below, never those of the policy.
    fn overlay(&mut self, over: Self) {
        if let Some(engine) = over.engine {
            if self.engine.as_ref().is_some_and(|(_, below)| *below != engine.1) {
                self.keys.clear();
            }
            self.engine = Some(engine);
        }
        if matches!(over.home, Origin::File { .. }) {
            self.home = over.home;
        }
        overlay(&mut self.keys, over.keys);
        match (&mut self.policy, over.policy) {
            (Some((home, below)), Some((above_home, above))) => {
                *home = above_home;
                overlay(below, above);
            }
            (below, Some(above)) => *below = Some(above),
            (_, None) => {}
        }
    }
}

/// The sections of one layer, and what a profile says about itself.
#[derive(Default)]
pub(crate) struct Layer {
    pub(crate) sections: BTreeMap<Port, Section>,
    /// Whether the profile is one of production.
    pub(crate) production: bool,
    /// Whether a production profile may use engines that are not meant for it.
    pub(crate) allow_development_engines: bool,
    /// Whether a production profile may set keys that begin with `dangerous`.
    pub(crate) allow_dangerous_keys: bool,
}

impl Layer {
    /// Reads the profile `name`, whose keys are `keys`.
    pub(crate) fn of_profile(name: &str, keys: Keys, faults: &mut Faults) -> Self {
        let mut layer = Self { production: name == "production", ..Self::default() };
        for (key, entry) in keys {
            let subject = format!("{name}.{key}");
            match key.as_str() {
                "production" | "allow_development_engines" | "allow_dangerous_keys" => {
                    layer.flag(name, &key, &entry, faults);
                }
                _ => match port_of(&key) {
                    Some(port) => {
                        if let Some(section) = section(port, &subject, entry, faults) {
                            look_for_secrets(&subject, &section, faults);
                            layer.sections.insert(port, section);
                        }
                    }
                    None => {
                        let known = listed(sections());
                        faults.add(entry.key, &subject, format!("unknown section `{key}`; known: {known}"));
                    }
                },
            }
        }
        layer
    }

    /// Reads what the variables say; `tree` holds known sections only.
    pub(crate) fn of_variables(tree: Keys, faults: &mut Faults) -> Self {
        let mut layer = Self::default();
        for (name, entry) in tree {
            if let Some(port) = port_of(&name)
                && let Some(section) = section(port, &name, entry, faults)
            {
                layer.sections.insert(port, section);
            }
        }
        layer
    }

    fn flag(&mut self, profile: &str, key: &str, entry: &Entry, faults: &mut Faults) {
        let subject = format!("{profile}.{key}");
        if profile == DEFAULT {
            let message = "stands in every profile from here; write it in the profile that it is meant for";
            return faults.add(entry.key.clone(), &subject, message);
        }
        let NodeValue::Leaf(Value::Boolean(on)) = entry.node.value else {
            return faults.add(entry.node.origin.clone(), &subject, "must be true or false");
        };
        match key {
            "production" if !on && self.production => {
                let message =
                    "the profile named production is always one of production; rename it, or take this out";
                faults.add(entry.node.origin.clone(), &subject, message);
            }
            "production" => self.production = on,
            "allow_development_engines" => self.allow_development_engines = on,
            _ => self.allow_dangerous_keys = on,
        }
    }

    /// Lays the sections of `over` on those of this layer.
    pub(crate) fn overlay(&mut self, over: Self) {
        for (port, section) in over.sections {
            match self.sections.get_mut(&port) {
                Some(below) => below.overlay(section),
                None => {
                    self.sections.insert(port, section);
                }
            }
        }
        self.production |= over.production;
        self.allow_development_engines |= over.allow_development_engines;
        self.allow_dangerous_keys |= over.allow_dangerous_keys;
    }
}

fn section(port: Port, subject: &str, entry: Entry, faults: &mut Faults) -> Option<Section> {
    let NodeValue::Table(mut keys) = entry.node.value else {
        faults.add(entry.node.origin, subject, format!("a section is a table; write [{subject}]"));
        return None;
    };
    let engine = keys.remove("engine").map(|named| match named.node.value {
        NodeValue::Leaf(Value::String(name)) if !name.is_empty() => (named.node.origin, name),
        _ => {
            let message = "must be the name of an engine in quotes";
            faults.add(named.node.origin.clone(), &format!("{subject}.engine"), message);
            (named.node.origin, String::new())
        }
    });
    let policy = policy_of(port).and_then(|name| {
        let entry = keys.remove(name)?;
        match entry.node.value {
            NodeValue::Table(keys) => Some((entry.key, keys)),
            _ => {
                let message = format!("belongs to the policy and is a table; write [{subject}.{name}]");
                faults.add(entry.node.origin, &format!("{subject}.{name}"), message);
                None
            }
        }
    });
    Some(Section { home: entry.key, engine, keys, policy })
}

fn look_for_secrets(subject: &str, section: &Section, faults: &mut Faults) {
    let policy = section.policy.iter().map(|(_, keys)| keys);
    for keys in std::iter::once(&section.keys).chain(policy) {
        for (key, entry) in keys {
            refuse_literal(&format!("{subject}.{key}"), key, &entry.node, faults);
        }
    }
}

/// Refuses secrets that stand in the file.
pub(crate) fn refuse_literal(subject: &str, key: &str, node: &Node, faults: &mut Faults) {
    match &node.value {
        NodeValue::Table(keys) => {
            for (key, entry) in keys {
                refuse_literal(&format!("{subject}.{key}"), key, &entry.node, faults);
            }
        }
        NodeValue::Array(items) => items.iter().for_each(|item| refuse_literal(subject, key, item, faults)),
        NodeValue::Leaf(Value::String(text)) if is_reference(text) => {}
        NodeValue::Leaf(Value::String(_)) if names_secret(key) => {
            let message = "a secret must not stand in the file; write `env:NAME` or `file:PATH` here";
            faults.add(node.origin.clone(), subject, message);
        }
        NodeValue::Leaf(Value::String(text)) if holds_password(text) => {
            let message =
                "a URL with a password must not stand in the file; write `env:NAME` or `file:PATH` here";
            faults.add(node.origin.clone(), subject, message);
        }
        _ => {}
    }
}
