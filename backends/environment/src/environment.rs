//! Everything that a profile opened.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::{Either, join_all, select};
use onex_spi::breaker::CircuitBreaker;
use onex_spi::http::{HttpClient, HttpServer, HttpTransport};
use onex_spi::kafka::{KafkaClient, KafkaDriver};
use onex_spi::provider::{Engine, Port, Table};
use onex_spi::{Clock, Error, ErrorKind, Health, Lifecycle, Result};

use crate::EnvironmentBuilder;
use crate::fault::Origin;
use crate::table::Tables;

/// How much longer than its time an engine may take to end before the next one is closed all the same.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// The engines that a file names for one profile, open, and the clients above them.
///
/// Handles are shared: what [`http_transport`](Self::http_transport) returns is the same engine at every call.
/// Dropping the environment drops its handles and closes nothing that the program still holds.
pub struct Environment {
    file: String,
    profile: String,
    clock: Arc<dyn Clock>,
    tables: Mutex<Tables>,
    /// In the order of opening.
    pub(crate) engines: Vec<Opened>,
}

/// One open engine.
pub(crate) struct Opened {
    pub(crate) port: Port,
    /// The name that the file gives.
    pub(crate) name: String,
    pub(crate) engine: Engine,
    /// The policy above it.
    pub(crate) client: Option<Client>,
}

/// What callers hold in the place of an engine.
pub(crate) enum Client {
    Http(Arc<dyn HttpClient>),
    Kafka(Arc<dyn KafkaClient>),
}

impl Opened {
    fn above(&self) -> Option<Arc<dyn Lifecycle>> {
        match self.client.as_ref()? {
            Client::Http(client) => Some(Arc::clone(client) as _),
            Client::Kafka(client) => Some(Arc::clone(client) as _),
        }
    }

    async fn health(&self) -> (Port, Health) {
        (self.port, self.above().unwrap_or_else(|| self.engine.lifecycle()).health().await)
    }
}

impl Environment {
    /// Begins to make an environment.
    pub fn builder() -> EnvironmentBuilder {
        EnvironmentBuilder::default()
    }

    pub(crate) fn new(file: &str, profile: &str, clock: Arc<dyn Clock>, tables: Tables) -> Self {
        let tables = Mutex::new(tables);
        Self { file: file.to_owned(), profile: profile.to_owned(), clock, tables, engines: Vec::new() }
    }

    /// Puts a client above the engine that was opened last.
    pub(crate) fn above(&mut self, client: Option<Client>) {
        if let Some(opened) = self.engines.last_mut() {
            opened.client = client;
        }
    }

    /// The name of the profile.
    #[must_use]
    pub fn profile(&self) -> &str {
        &self.profile
    }

    /// The name of the engine that fills `port`, if one does.
    #[must_use]
    pub fn engine_name(&self, port: Port) -> Option<&str> {
        self.engines.iter().find(|opened| opened.port == port).map(|opened| opened.name.as_str())
    }

    /// Hands over a table that the program knows ([`EnvironmentBuilder::table`]), its references resolved; once, because it may
    /// hold secrets. `None` where the file has none.
    pub fn take_table(&self, name: &str) -> Option<Table> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).take(name)
    }

    /// Where in the file the thing stands that `path` leads to, as `FILE:LINE:COLUMN`; its first name is that of a table that
    /// the program knows. The items of an array count from 1.
    #[must_use]
    pub fn place(&self, path: &[&str]) -> String {
        let place = self.tables.lock().unwrap_or_else(PoisonError::into_inner).place(path);
        place.unwrap_or(Origin::TOP).show(&self.file)
    }

    /// The engine of the section `breaker`.
    ///
    /// # Errors
    /// `NotFound` where the profile has no such section.
    #[doc(alias = "get_circuit_breaker")]
    pub fn circuit_breaker(&self) -> Result<Arc<dyn CircuitBreaker>> {
        self.find("environment.circuit_breaker", Port::CircuitBreaker, |opened| match &opened.engine {
            Engine::CircuitBreaker(breaker) => Some(Arc::clone(breaker)),
            _ => None,
        })
    }

    /// The client above the engine of the section `http`, with the policy of its table `client`.
    ///
    /// # Errors
    /// `NotFound` where the profile has no such section.
    #[doc(alias = "get_http_client")]
    pub fn http_client(&self) -> Result<Arc<dyn HttpClient>> {
        self.find("environment.http_client", Port::HttpTransport, |opened| match &opened.client {
            Some(Client::Http(client)) => Some(Arc::clone(client)),
            _ => None,
        })
    }

    /// The engine of the section `http`, without any policy.
    ///
    /// # Errors
    /// `NotFound` where the profile has no such section.
    pub fn http_transport(&self) -> Result<Arc<dyn HttpTransport>> {
        self.find("environment.http_transport", Port::HttpTransport, |opened| match &opened.engine {
            Engine::HttpTransport(transport) => Some(Arc::clone(transport)),
            _ => None,
        })
    }

    /// The engine of the section `http_server`.
    ///
    /// # Errors
    /// `NotFound` where the profile has no such section.
    pub fn http_server(&self) -> Result<Arc<dyn HttpServer>> {
        self.find("environment.http_server", Port::HttpServer, |opened| match &opened.engine {
            Engine::HttpServer(server) => Some(Arc::clone(server)),
            _ => None,
        })
    }

    /// The client above the engine of the section `kafka`.
    ///
    /// # Errors
    /// `NotFound` where the profile has no such section.
    #[doc(alias = "get_kafka_client")]
    pub fn kafka_client(&self) -> Result<Arc<dyn KafkaClient>> {
        self.find("environment.kafka_client", Port::KafkaDriver, |opened| match &opened.client {
            Some(Client::Kafka(client)) => Some(Arc::clone(client)),
            _ => None,
        })
    }

    /// The engine of the section `kafka`, without any policy.
    ///
    /// # Errors
    /// `NotFound` where the profile has no such section.
    pub fn kafka_driver(&self) -> Result<Arc<dyn KafkaDriver>> {
        self.find("environment.kafka_driver", Port::KafkaDriver, |opened| match &opened.engine {
            Engine::KafkaDriver(driver) => Some(Arc::clone(driver)),
            _ => None,
        })
    }

    fn find<P>(&self, operation: &'static str, port: Port, pick: impl Fn(&Opened) -> Option<P>) -> Result<P> {
        self.engines.iter().find_map(pick).ok_or_else(|| {
            let message = format!(
                "{} names no engine for {section}; write engine = \"..\" in [{}.{section}]",
                self.file,
                self.profile,
                section = port.section()
            );
            Error::new(ErrorKind::NotFound, operation, message).not_applied()
        })
    }

    /// Asks everything at once how it is doing, a port's client where there is one; in the order of opening.
    ///
    /// # Cancellation
    /// Leaves nothing behind.
    pub async fn health(&self) -> Vec<(Port, Health)> {
        join_all(self.engines.iter().map(Opened::health)).await
    }

    /// Closes everything in the reverse order of opening; each gets what is left of `within`.
    ///
    /// An engine that does not end in its time is left behind, so that the others are closed. Closing again is `Ok`.
    ///
    /// # Errors
    /// The first that an engine met; all are closed all the same.
    /// # Cancellation
    /// What began to close goes on behind; calling again closes the rest.
    pub async fn close(&self, within: Duration) -> Result<()> {
        // A time beyond what the clock can count is no limit.
        let deadline = self.clock.now().checked_add(within);
        let mut first = Ok(());
        for opened in self.engines.iter().rev() {
            for thing in opened.above().into_iter().chain([opened.engine.lifecycle()]) {
                let closed = self.close_one(opened, &*thing, deadline).await;
                if let Err(error) = &closed {
                    let port = opened.port.section();
                    tracing::warn!(engine = opened.name, port, %error, "an engine did not close well");
                }
                first = first.and(closed);
            }
        }
        first
    }

    async fn close_one(
        &self,
        opened: &Opened,
        thing: &dyn Lifecycle,
        deadline: Option<Instant>,
    ) -> Result<()> {
        let Some(deadline) = deadline else { return thing.close(Duration::MAX).await };
        let now = self.clock.now();
        let overdue = self.clock.sleep_until(deadline.max(now) + CLOSE_GRACE);
        let closing = pin!(thing.close(deadline.saturating_duration_since(now)));
        match select(closing, overdue).await {
            Either::Left((closed, _)) => closed,
            Either::Right(_) => {
                let message = format!(
                    "the engine `{}` of {} did not end in its time",
                    opened.name,
                    opened.port.section()
                );
                Err(Error::new(ErrorKind::TimedOut, "environment.close", message))
            }
        }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let engines = self.engines.iter().map(|opened| (opened.port.section(), opened.name.as_str()));
        f.debug_map().entry(&"profile", &self.profile).entries(engines).finish()
    }
}
