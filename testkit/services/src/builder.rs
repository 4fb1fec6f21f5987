//! What kind of Kafka to start.

use crate::{
    Kafka, ServiceError,
    properties::{CONTROLLER, PLAINTEXT},
};

/// How a listener protects and identifies its connections, in the broker's words.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityProtocol {
    /// `PLAINTEXT`: neither.
    Plaintext,
    /// `SSL`: TLS, with client certificates where asked for.
    Ssl,
    /// `SASL_PLAINTEXT`: a SASL mechanism on a plain connection.
    SaslPlaintext,
    /// `SASL_SSL`: a SASL mechanism on TLS.
    SaslSsl,
}

/// One more listener of every node, beside the plain one.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its name, in capitals by custom; also the key for [`Kafka::listener`].
    pub name: String,
    /// How it protects its connections.
    pub protocol: SecurityProtocol,
    /// Its settings, without the `listener.name.<name>.` that the broker wants before each.
    pub properties: Vec<(String, String)>,
}

impl Listener {
    /// Makes a listener without settings.
    #[must_use]
    pub fn new(name: impl Into<String>, protocol: SecurityProtocol) -> Self {
        Self { name: name.into(), protocol, properties: Vec::new() }
    }

    /// Adds a setting, `sasl.enabled.mechanisms` for one; the prefix with the listener's name is added.
    #[must_use]
    pub fn with_property(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.push((key.into(), value.into()));
        self
    }
}

/// Describes a Kafka to start; made by [`Kafka::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct KafkaBuilder {
    pub(crate) nodes: usize,
    pub(crate) heap: u64,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) properties: Vec<(String, String)>,
    pub(crate) scram: Vec<String>,
    pub(crate) java_options: Vec<String>,
}

impl KafkaBuilder {
    pub(crate) fn new() -> Self {
        Self {
            nodes: 1,
            heap: 256 << 20,
            listeners: Vec::new(),
            properties: Vec::new(),
            scram: Vec::new(),
            java_options: Vec::new(),
        }
    }

    /// Sets the number of nodes, 1 (the default) or 3.
    ///
    /// Each is broker and controller in its own process. With three, topics have three replicas unless they ask for
    /// another number and a write with `acks=all` needs two.
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// Sets the largest heap of a node in bytes; 256 MiB by default, 32 MiB is enough to start.
    pub fn heap(mut self, heap: u64) -> Self {
        self.heap = heap;
        self
    }

    /// Adds a listener to every node.
    pub fn listener(mut self, listener: Listener) -> Self {
        self.listeners.push(listener);
        self
    }

    /// Sets a line of `server.properties` on every node; the last value given for a key wins, also over the defaults.
    pub fn property(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.push((key.into(), value.into()));
        self
    }

    /// Creates a SCRAM user before the first start; `mechanism` is `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub fn scram_user(mut self, mechanism: &str, name: &str, password: &str) -> Self {
        self.scram.push(format!("{mechanism}=[name={name},password={password}]"));
        self
    }

    /// Adds an option of the JVM, such as `-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=...`.
    pub fn java_option(mut self, option: impl Into<String>) -> Self {
        self.java_options.push(option.into());
        self
    }

    /// Starts the nodes and resolves once each of them says that it is ready.
    ///
    /// The first start with an empty cache also fetches the jars and writes the class archive.
    ///
    /// # Errors
    /// `Unavailable` where Java or Maven is missing; `Invalid` for a request that makes no sense; `Ended`, `TimedOut`
    /// or `AddressInUse`, with the end of the log, where a node was not ready within 60 s.
    ///
    /// # Cancellation
    /// Dropping the future kills what it has started.
    pub async fn start(self) -> Result<Kafka, ServiceError> {
        self.check()?;
        Kafka::start(self).await
    }

    fn check(&self) -> Result<(), ServiceError> {
        if !matches!(self.nodes, 1 | 3) {
            return Err(ServiceError::Invalid(format!("Kafka starts with 1 or 3 nodes, not {}", self.nodes)));
        }
        let mut taken = vec![PLAINTEXT.to_owned(), CONTROLLER.to_owned()];
        for listener in &self.listeners {
            let name = listener.name.to_uppercase();
            if name.is_empty() || taken.contains(&name) {
                return Err(ServiceError::Invalid(format!("the listener name {name:?} is empty or taken")));
            }
            taken.push(name);
        }
        Ok(())
    }

    /// The listeners for clients with their protocols, `PLAINTEXT` first.
    pub(crate) fn listener_names(&self) -> impl Iterator<Item = (&str, SecurityProtocol)> {
        let extra = self.listeners.iter().map(|listener| (listener.name.as_str(), listener.protocol));
        std::iter::once((PLAINTEXT, SecurityProtocol::Plaintext)).chain(extra)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_without_sense_is_refused() {
        assert!(Kafka::builder().check().is_ok());
        assert!(Kafka::builder().nodes(2).check().is_err());
        let plain = Listener::new("plaintext", SecurityProtocol::Plaintext);
        assert!(Kafka::builder().listener(plain).check().is_err());
    }
}
