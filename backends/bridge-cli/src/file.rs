//! The table `[bridges.NAME]`: what is wrong with it, and what it says.
//!
//! `source`, `target` and `dead_letter` hold a `protocol` and that protocol's keys, `dead_letter` the route `to` as well; all else is
//! [`BridgeConfig`].

use std::collections::BTreeMap;
use std::sync::Arc;

use onex_spi::bridge::{BridgeConfig, BridgeProtocol, DeadLetterConfig, Protocol, RoutingRule};
use onex_spi::provider::{KeyError, Port, Table, Value};

/// The key of a target that asks a circuit.
const CIRCUIT: &str = "circuit";

/// The protocols that a file may name; for checking, they need not be able to open anything.
pub(crate) type Protocols = BTreeMap<Protocol, Arc<dyn BridgeProtocol>>;

/// A bridge to create.
pub(crate) struct Planned {
    pub(crate) name: String,
    pub(crate) source: Protocol,
    pub(crate) target: Protocol,
    pub(crate) config: BridgeConfig,
}

/// Everything that is wrong with the table `bridges`, where the profile has engines for `ports`.
pub(crate) fn judge(bridges: &Table, protocols: &Protocols, ports: &[Port]) -> Vec<KeyError> {
    let read =
        bridges.iter().flat_map(|(name, table)| Reading::new(name, protocols, Some(ports)).read(table).1);
    read.collect()
}

/// What a table says that was judged.
pub(crate) fn plan(bridges: &Table, protocols: &Protocols) -> Vec<Planned> {
    let read = bridges.iter().filter_map(|(name, table)| Reading::new(name, protocols, None).read(table).0);
    read.collect()
}

/// The end of a bridge, its own keys apart from the protocol's.
struct End {
    protocol: Protocol,
    config: Table,
}

/// One bridge as it is read.
struct Reading<'a> {
    name: &'a str,
    protocols: &'a Protocols,
    ports: Option<&'a [Port]>,
    errors: Vec<KeyError>,
}

impl<'a> Reading<'a> {
    fn new(name: &'a str, protocols: &'a Protocols, ports: Option<&'a [Port]>) -> Self {
        Self { name, protocols, ports, errors: Vec::new() }
    }

    fn read(mut self, value: &Value) -> (Option<Planned>, Vec<KeyError>) {
        let Value::Table(table) = value else {
            self.add(&[], format!("invalid type: a bridge is a table; write [bridges.{}]", self.name));
            return (None, self.errors);
        };
        let mut rest = table.clone();
        if self.name.trim().is_empty() {
            self.add(&[], "a bridge needs a name that is not blank");
        }
        let source = self.end(&mut rest, "source");
        let target = self.end(&mut rest, "target");
        let dead = self.dead_letter(&mut rest, target.as_ref());
        let rules = self.rules(&mut rest);
        let config = self.config(rest, rules, dead);
        let planned = source.zip(target).zip(config).map(|((source, target), config)| Planned {
            name: self.name.to_owned(),
            source: source.protocol,
            target: target.protocol,
            config: config.with_ends(source.config, target.config),
        });
        (planned.filter(|_| self.errors.is_empty()), self.errors)
    }

    fn end(&mut self, rest: &mut Table, key: &str) -> Option<End> {
        let is_source = key == "source";
        let Some(value) = rest.remove(key) else {
            self.add(&[key], format!("missing field `{key}`; write {key} = {{ protocol = \"..\" }}"));
            return None;
        };
        let mut config = self.table(key, value)?;
        let protocol = match config.remove("protocol") {
            Some(value) => self.protocol(key, value),
            None => {
                let known = self.known();
                self.add(&[key, "protocol"], format!("missing field `protocol`; known: {known}"));
                None
            }
        }?;
        self.check_end(key, &protocol, &config, is_source);
        Some(End { protocol, config })
    }

    /// A dead-letter target is the target of the bridge where it names no protocol and no keys of one.
    fn dead_letter(&mut self, rest: &mut Table, target: Option<&End>) -> Option<DeadLetterConfig> {
        const KEY: &str = "dead_letter";
        let value = rest.remove(KEY)?;
        let mut config = self.table(KEY, value)?;
        let to = match config.remove("to") {
            Some(Value::String(to)) => Some(to),
            Some(_) => {
                self.add(&[KEY, "to"], "invalid type: expected the route in quotes");
                None
            }
            None => {
                self.add(&[KEY, "to"], "missing field `to`; name the route of dead letters");
                None
            }
        };
        let protocol = match config.remove("protocol") {
            Some(value) => self.protocol(KEY, value)?,
            None => target?.protocol.clone(),
        };
        if config.is_empty() && target.is_some_and(|target| target.protocol == protocol) {
            config = target?.config.clone();
            // A dead letter is always tried: it is the last that can be done with its message.
            config.remove(CIRCUIT);
        } else {
            self.check_end(KEY, &protocol, &config, false);
        }
        Some(DeadLetterConfig::new(protocol, to?).with_target(config))
    }

    fn check_end(&mut self, key: &str, protocol: &Protocol, config: &Table, is_source: bool) {
        if let Some(known) = self.protocols.get(protocol) {
            let errors = if is_source { known.check_source(config) } else { known.check_target(config) };
            errors.into_iter().for_each(|error| self.under(&[key], error));
        }
        if !is_source && config.contains_key(CIRCUIT) {
            self.needs(&[key, CIRCUIT], Port::CircuitBreaker);
        }
        let port = match (protocol.as_str(), is_source) {
            ("http", true) => Some(Port::HttpServer),
            ("http", false) => Some(Port::HttpTransport),
            ("kafka", _) => Some(Port::KafkaDriver),
            _ => None,
        };
        if let Some(port) = port {
            self.needs(&[key], port);
        }
    }

    /// Tells where the profile has no engine that something rests on.
    fn needs(&mut self, path: &[&str], port: Port) {
        if self.ports.is_some_and(|ports| !ports.contains(&port)) {
            let section = port.section();
            let message =
                format!("the profile names no engine for {section}; write {section}.engine = \"..\" in it");
            self.add(path, message);
        }
    }

    fn protocol(&mut self, key: &str, value: Value) -> Option<Protocol> {
        let known = self.known();
        let Value::String(name) = value else {
            self.add(&[key, "protocol"], format!("invalid type: expected the name of a protocol: {known}"));
            return None;
        };
        let protocol = Protocol::new(name);
        if self.protocols.contains_key(&protocol) {
            return Some(protocol);
        }
        self.add(&[key, "protocol"], format!("unknown protocol `{protocol}`; known: {known}"));
        None
    }

    fn known(&self) -> String {
        self.protocols.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    }

    fn table(&mut self, key: &str, value: Value) -> Option<Table> {
        match value {
            Value::Table(table) => Some(table),
            _ => {
                self.add(
                    &[key],
                    format!("invalid type: expected a table; write {key} = {{ protocol = \"..\" }}"),
                );
                None
            }
        }
    }

    fn rules(&mut self, rest: &mut Table) -> Vec<RoutingRule> {
        const KEY: &str = "rules";
        let items = match rest.remove(KEY) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(_) => {
                self.add(
                    &[KEY],
                    "invalid type: expected a list; write rules = [{ condition = \"..\", to = \"..\" }]",
                );
                return Vec::new();
            }
        };
        let mut rules = Vec::new();
        for (place, item) in items.into_iter().enumerate() {
            let number = (place + 1).to_string();
            let Value::Table(table) = item else {
                self.add(&[KEY, &number], "invalid type: a rule is { condition = \"..\", to = \"..\" }");
                rules.push(RoutingRule::new("true", ""));
                continue;
            };
            for error in KeyError::of_config::<RoutingRule>(&table) {
                self.under(&[KEY, &number], error);
            }
            // One that cannot be read keeps its place, so that the others keep their numbers.
            rules.push(table.try_into().unwrap_or_else(|_| RoutingRule::new("true", "")));
        }
        rules
    }

    fn config(
        &mut self,
        rest: Table,
        rules: Vec<RoutingRule>,
        dead: Option<DeadLetterConfig>,
    ) -> Option<BridgeConfig> {
        let errors = KeyError::of_config::<BridgeConfig>(&rest);
        let well_formed = errors.is_empty();
        errors.into_iter().for_each(|error| self.under(&[], error));
        // What the rest is made of does not change what the rules say, but for these two.
        let mut config: BridgeConfig = rest.try_into().unwrap_or_default();
        config = config.with_rules(rules);
        for error in onex_bridge::check_rules(&config) {
            let fault = error.bridge();
            let number = fault.and_then(|fault| fault.rule).map(|rule| rule.to_string()).unwrap_or_default();
            self.add(&["rules", &number, "condition"], error.message());
        }
        config.dead_letter = dead;
        if !well_formed {
            return None;
        }
        if let Err(error) = config.validate() {
            // The message begins with the key.
            let key = error.message().split(' ').next().unwrap_or_default().to_owned();
            let path: Vec<&str> = key.split('.').collect();
            self.add(&path, error.message());
        }
        Some(config)
    }

    fn add(&mut self, path: &[&str], message: impl Into<String>) {
        self.under(path, KeyError::new("", message));
    }

    fn under(&mut self, path: &[&str], mut error: KeyError) {
        let above = std::iter::once(self.name).chain(path.iter().copied()).map(str::to_owned);
        error.path = above.chain(error.path).collect();
        self.errors.push(error);
    }
}
