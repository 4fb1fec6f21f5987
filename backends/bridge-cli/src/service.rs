//! From a file to running bridges, and back to nothing in order.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use onex_bridge::guarded;
use onex_bridge::http::{HttpProtocol, Listening};
use onex_bridge::kafka::KafkaProtocol;
use onex_environment::{Environment, EnvironmentBuilder};
use onex_spi::bridge::{BridgeId, BridgeProtocol, BridgeState, CommunicationBridge, Protocol};
use onex_spi::provider::Table;
use onex_spi::{Clock, Error, ErrorKind, Result, SystemClock};

use crate::file::{self, Protocols};

const TABLE: &str = "bridges";
const LOAD: &str = "bridges.load";
/// How long what was opened in vain gets to close.
const RETREAT: Duration = Duration::from_secs(5);

/// Makes [`Bridges`]: an environment's builder with the engines of the program, and protocols beside `http` and `kafka`.
#[must_use = "a builder does nothing until a file is loaded"]
#[derive(Debug)]
pub struct BridgesBuilder {
    environment: EnvironmentBuilder,
    protocols: Vec<Arc<dyn BridgeProtocol>>,
}

impl BridgesBuilder {
    /// Adds a protocol of the program's own.
    pub fn protocol(mut self, protocol: impl BridgeProtocol) -> Self {
        self.protocols.push(Arc::new(protocol));
        self
    }

    /// Those that a file may name; they check, and open nothing.
    fn known(&self) -> Protocols {
        let ours: [Arc<dyn BridgeProtocol>; 2] =
            [Arc::new(HttpProtocol::new()), Arc::new(KafkaProtocol::default())];
        let all = ours.into_iter().chain(self.protocols.iter().cloned());
        all.map(|known| (known.name(), guarded(known, None))).collect()
    }

    /// The environment's builder, which judges the bridges with the rest of the file.
    fn judging(self) -> (EnvironmentBuilder, Protocols, Vec<Arc<dyn BridgeProtocol>>) {
        let known = self.known();
        let for_judge = known.clone();
        let judge = move |bridges: &Table, ports: &[_]| file::judge(bridges, &for_judge, ports);
        (self.environment.table(TABLE, judge), known, self.protocols)
    }

    /// Checks the file at `path` for `profile` and opens nothing.
    ///
    /// # Errors
    /// `InvalidInput` with everything that is wrong in the file, a line each; what the file itself meets.
    /// # Cancellation
    /// Leaves nothing behind.
    pub async fn check(self, path: impl AsRef<Path>, profile: &str) -> Result<()> {
        self.judging().0.check(path, profile).await
    }

    /// Opens what the file at `path` says for `profile` and starts its bridges, all of them or none.
    ///
    /// # Errors
    /// Those of [`check`](Self::check); else what opening the ends met, with the place of the bridge in the file.
    /// # Cancellation
    /// Leaves nothing open.
    pub async fn load(self, path: impl AsRef<Path>, profile: &str) -> Result<Bridges> {
        let (environment, known, protocols) = self.judging();
        let environment = environment.load(path, profile).await?;
        start(environment, &known, protocols).await
    }

    /// As [`load`](Self::load), of a text that errors call `name`.
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    /// # Cancellation
    /// Leaves nothing open.
    pub async fn parse(self, text: &str, name: &str, profile: &str) -> Result<Bridges> {
        let (environment, known, protocols) = self.judging();
        let environment = environment.parse(text, name, profile).await?;
        start(environment, &known, protocols).await
    }
}

/// Opens the protocols over the ports of the environment, and then every bridge.
async fn start(
    environment: Environment,
    known: &Protocols,
    own: Vec<Arc<dyn BridgeProtocol>>,
) -> Result<Bridges> {
    let mut http = HttpProtocol::new();
    if let Ok(server) = environment.http_server() {
        http = http.with_server(server);
    }
    if let Ok(client) = environment.http_client() {
        http = http.with_client(client);
    }
    let http = Arc::new(http);
    let kafka = environment.kafka_driver().map_or_else(|_| KafkaProtocol::default(), KafkaProtocol::new);
    let ours: [Arc<dyn BridgeProtocol>; 2] = [http.clone(), Arc::new(kafka)];
    let breaker = environment.circuit_breaker().ok();
    let protocols = ours.into_iter().chain(own).map(|known| guarded(known, breaker.clone())).collect();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let bridge = onex_bridge::open(protocols, clock, seed())?;
    let mut bridges = Bridges { environment, http, bridge, running: Vec::new() };

    let planned = file::plan(&bridges.environment.take_table(TABLE).unwrap_or_default(), known);
    let mut faults = Vec::new();
    if planned.is_empty() {
        let place = bridges.environment.place(&[TABLE]);
        faults.push((format!("{place}: there is no bridge; write [bridges.NAME]"), ErrorKind::InvalidInput));
    }
    for planned in planned {
        let name: Arc<str> = planned.name.as_str().into();
        let (source, target) = (planned.source.clone(), planned.target.clone());
        match bridges.bridge.create_bridge(&name, planned.source, planned.target, planned.config).await {
            Ok(id) => bridges.running.push(RunningBridge { id, name, source, target }),
            Err(error) => {
                let rule = error.bridge().and_then(|fault| fault.rule).map(|rule| rule.to_string());
                let mut path = vec![TABLE, &*name];
                path.extend(rule.iter().flat_map(|rule| ["rules", rule.as_str()]));
                let place = bridges.environment.place(&path);
                faults.push((format!("{place}: bridges.{name}: {}", error.message()), error.kind()));
            }
        }
    }
    let Some((_, kind)) = faults.first() else { return Ok(bridges) };
    let told: Vec<&str> = faults.iter().map(|(fault, _)| fault.as_str()).collect();
    let error = Error::new(*kind, LOAD, format!("{}; no bridge was started", told.join("\n"))).not_applied();
    if let Err(close) = bridges.close(RETREAT).await {
        tracing::warn!(%close, "what was opened in vain does not close");
    }
    Err(error)
}

/// A seed that differs from process to process, as ids of messages must.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

/// A bridge of a file.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningBridge {
    /// Its id in the engine.
    pub id: BridgeId,
    /// Its name in the file.
    pub name: Arc<str>,
    /// The protocol of its source.
    pub source: Protocol,
    /// The protocol of its target.
    pub target: Protocol,
}

/// The bridges of a file, running.
///
/// # Examples
/// ```
/// use onex_bridge_cli::Bridges;
/// use onex_environment::Environment;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> onex_spi::Result<()> {
/// let file = "
///     [default]
///     http_server.engine = 'memory'
///     kafka = { engine = 'memory', topics = [{ name = 'events' }] }
///     [bridges.hooks]
///     source = { protocol = 'http', listen = '127.0.0.1:0', path = '/hooks' }
///     target = { protocol = 'kafka' }
///     default_route = 'events'
/// ";
/// let engines = Environment::builder().with(onex_memory::provider());
/// let bridges = Bridges::builder(engines).parse(file, "onex.toml", "default").await?;
/// assert!(bridges.listening()[0].url.ends_with("/hooks"));
/// bridges.close(std::time::Duration::from_secs(5)).await
/// # }
/// ```
pub struct Bridges {
    environment: Environment,
    http: Arc<HttpProtocol>,
    bridge: Arc<dyn CommunicationBridge>,
    running: Vec<RunningBridge>,
}

impl Bridges {
    /// Begins with the engines that a file may name.
    pub fn builder(engines: EnvironmentBuilder) -> BridgesBuilder {
        BridgesBuilder { environment: engines, protocols: Vec::new() }
    }

    /// The engine that moves the messages.
    #[must_use]
    pub fn bridge(&self) -> &Arc<dyn CommunicationBridge> {
        &self.bridge
    }

    /// The engines that the file names.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The bridges of the file.
    #[must_use]
    pub fn running(&self) -> &[RunningBridge] {
        &self.running
    }

    /// Where the HTTP sources listen.
    #[must_use]
    pub fn listening(&self) -> Vec<Listening> {
        self.http.listening()
    }

    /// Whether no source will ever bring anything again; `Some` with the error of the first that failed.
    #[must_use]
    pub fn over(&self) -> Option<Option<Error>> {
        let mut failed = None;
        for running in &self.running {
            let Ok(status) = self.bridge.bridge_status(running.id) else { continue };
            match status.state {
                BridgeState::Ended => {}
                BridgeState::Failed => failed = failed.or(status.last_error),
                _ => return None,
            }
        }
        Some(failed)
    }

    /// Drains the bridges, then closes the engines.
    ///
    /// # Errors
    /// `TimedOut` where messages were failed at `within`; else the first that did not close well.
    /// # Cancellation
    /// What began to close goes on behind.
    pub async fn close(&self, within: Duration) -> Result<()> {
        let drained = self.bridge.close(within).await;
        drained.and(self.environment.close(RETREAT).await)
    }
}

impl fmt::Debug for Bridges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bridges").field("running", &self.running).finish_non_exhaustive()
    }
}
