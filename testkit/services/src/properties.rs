//! The text of `server.properties`.

use std::{collections::BTreeMap, fmt::Write};

use crate::{KafkaBuilder, SecurityProtocol};

/// The listener that nodes use among themselves and that clients get unless they ask for another.
pub(crate) const PLAINTEXT: &str = "PLAINTEXT";
pub(crate) const CONTROLLER: &str = "CONTROLLER";

/// Settings of every node: a broker for tests answers soon, forgets soon and holds little.
const SETTINGS: &[(&str, &str)] = &[
    ("process.roles", "broker,controller"),
    ("controller.listener.names", CONTROLLER),
    ("inter.broker.listener.name", PLAINTEXT),
    // A test says what it creates.
    ("auto.create.topics.enable", "false"),
    // The first member of a group joins in 60 ms instead of 3 s.
    ("group.initial.rebalance.delay.ms", "0"),
    ("group.min.session.timeout.ms", "1000"),
    // A killed node may come back after 3 s instead of 9 s; with 1 s a busy machine fences a node that is well.
    ("broker.session.timeout.ms", "3000"),
    ("broker.heartbeat.interval.ms", "500"),
    ("offsets.topic.num.partitions", "4"),
    ("transaction.state.log.num.partitions", "4"),
    ("share.coordinator.state.topic.num.partitions", "4"),
    ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "500"),
    ("num.network.threads", "2"),
    ("num.io.threads", "2"),
    ("background.threads", "2"),
    // The cleaner would take 128 MB of heap.
    ("log.cleaner.dedupe.buffer.size", "2097152"),
    ("log.initial.task.delay.ms", "500"),
    ("log.retention.check.interval.ms", "1000"),
    ("log.segment.delete.delay.ms", "1000"),
];

/// Settings that count replicas: all nodes, and how many of them make a write good.
const REPLICAS: &[&str] = &[
    "default.replication.factor",
    "offsets.topic.replication.factor",
    "transaction.state.log.replication.factor",
    "share.coordinator.state.topic.replication.factor",
];
const IN_SYNC: &[&str] =
    &["min.insync.replicas", "transaction.state.log.min.isr", "share.coordinator.state.topic.min.isr"];

/// The ports of one node.
#[derive(Clone, Debug)]
pub(crate) struct NodePorts {
    pub(crate) controller: u16,
    /// `PLAINTEXT` first, then the extra listeners in their order.
    pub(crate) listeners: Vec<u16>,
}

/// Writes the settings of the node with this number.
pub(crate) fn of_node(builder: &KafkaBuilder, ports: &[NodePorts], node: usize, data: &str) -> String {
    let own = &ports[node - 1];
    let mut listeners = Vec::new();
    let mut protocols = format!("{CONTROLLER}:PLAINTEXT");
    for ((name, protocol), port) in builder.listener_names().zip(&own.listeners) {
        listeners.push(format!("{name}://127.0.0.1:{port}"));
        let _ = write!(protocols, ",{name}:{}", protocol.name());
    }
    let advertised = listeners.join(",");
    let voters: Vec<_> = (1..).zip(ports).map(|(id, p)| format!("{id}@127.0.0.1:{}", p.controller)).collect();

    let mut settings: BTreeMap<String, String> =
        SETTINGS.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let mut set = |key: &str, value: String| settings.insert(key.to_owned(), value);
    set("node.id", node.to_string());
    set("log.dirs", data.to_owned());
    set("controller.quorum.voters", voters.join(","));
    set("listeners", format!("{advertised},{CONTROLLER}://127.0.0.1:{}", own.controller));
    set("advertised.listeners", advertised);
    set("listener.security.protocol.map", protocols);
    for key in REPLICAS {
        set(key, ports.len().to_string());
    }
    for key in IN_SYNC {
        set(key, (ports.len() / 2 + 1).to_string());
    }
    for listener in &builder.listeners {
        let prefix = format!("listener.name.{}.", listener.name.to_lowercase());
        for (key, value) in &listener.properties {
            set(&format!("{prefix}{key}"), value.clone());
        }
    }
    for (key, value) in &builder.properties {
        set(key, value.clone());
    }
    settings.iter().fold(String::new(), |mut text, (key, value)| {
        let _ = writeln!(text, "{key}={}", escaped(value));
        text
    })
}

/// As `java.util.Properties` reads it: one line, a backslash escapes, Latin-1 and `\u`.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for unit in value.encode_utf16() {
        match u8::try_from(unit) {
            Ok(b'\\') => text.push_str("\\\\"),
            Ok(byte @ (b'!'..=b'~')) => text.push(byte.into()),
            Ok(b' ') if !text.is_empty() => text.push(' '),
            _ => {
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}

impl SecurityProtocol {
    fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kafka, Listener};

    #[test]
    fn values_survive_the_properties_format() {
        assert_eq!(escaped(r#"user_a="pw";"#), r#"user_a="pw";"#);
        assert_eq!(escaped("a\\b\nc"), r"a\\b\u000ac");
        assert_eq!(escaped(" ü x"), r"\u0020\u00fc x");
    }

    #[test]
    fn a_node_knows_its_listeners_and_its_peers() {
        let sasl = Listener::new("CLIENT", SecurityProtocol::SaslPlaintext)
            .with_property("sasl.enabled.mechanisms", "PLAIN");
        let builder = Kafka::builder().nodes(3).listener(sasl).property("num.io.threads", "9");
        let ports: Vec<_> = [10u16, 20, 30]
            .map(|port| NodePorts { controller: port, listeners: vec![port + 1, port + 2] })
            .into();
        let text = of_node(&builder, &ports, 2, "/data");
        for line in [
            "node.id=2",
            "controller.quorum.voters=1@127.0.0.1:10,2@127.0.0.1:20,3@127.0.0.1:30",
            "listeners=PLAINTEXT://127.0.0.1:21,CLIENT://127.0.0.1:22,CONTROLLER://127.0.0.1:20",
            "advertised.listeners=PLAINTEXT://127.0.0.1:21,CLIENT://127.0.0.1:22",
            "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,CLIENT:SASL_PLAINTEXT",
            "listener.name.client.sasl.enabled.mechanisms=PLAIN",
            "offsets.topic.replication.factor=3",
            "transaction.state.log.min.isr=2",
            "num.io.threads=9",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} not in\n{text}");
        }
    }
}
