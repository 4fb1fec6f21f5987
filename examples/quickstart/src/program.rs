//! The program: serves the orders and the directory, feeds a file and accounts for it. It holds ports and nothing else.
//!
//! ```text
//!  lines ─► HttpClient ─► HttpServer: OrderService ─► KafkaClient ─► consume, count, commit ─► Report
//!                                        └─► HttpClient behind CircuitBreaker ─► HttpServer: Directory
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use onex_spi::Result;
use onex_spi::breaker::{CircuitBreaker, CircuitState};
use onex_spi::http::{HttpClient, HttpServer};
use onex_spi::kafka::{CreateTopicRequest, KafkaClient};

use crate::ledger::{self, Ledger};
use crate::service::OrderService;
use crate::upstream::Directory;

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 3;
/// How long reading back may take, and closing.
const WITHIN: Duration = Duration::from_secs(30);

/// What the program is given: one object per port, whatever engine stands behind it.
#[allow(clippy::exhaustive_structs, reason = "whoever assembles the program names every port")]
#[derive(Clone, Debug)]
pub struct Ports {
    /// Asks the service and the directory.
    pub http: Arc<dyn HttpClient>,
    /// Serves both.
    pub server: Arc<dyn HttpServer>,
    /// Keeps the orders.
    pub kafka: Arc<dyn KafkaClient>,
    /// Keeps a circuit for each region.
    pub breaker: Arc<dyn CircuitBreaker>,
}

/// What a run came to.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How every order ended.
    pub ledger: Ledger,
    /// The different orders that were read back and committed.
    pub consumed: u64,
    /// The circuits at the end.
    pub circuits: BTreeMap<Arc<str>, CircuitState>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "orders: {}", self.ledger)?;
        write!(f, "orders: {} consumed and committed", self.consumed)?;
        self.circuits.iter().try_for_each(|(name, state)| write!(f, "\ncircuit {name}: {state:?}"))
    }
}

/// Runs the service on `ports`, feeds it `orders`, one a line, and reads back what it accepted.
///
/// # Errors
/// The first call that failed: nothing is counted away.
pub async fn run(ports: &Ports, orders: &str) -> Result<Report> {
    let Ports { http, server, kafka, breaker } = ports.clone();
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));

    kafka.create_topic(CreateTopicRequest::new(TOPIC, PARTITIONS)).await?;
    let upstream = server.serve(any_port, Arc::new(Directory::new())).await?;
    let upstream_url = format!("http://{}", upstream.local_addr());
    let service =
        OrderService::open(http.clone(), kafka.clone(), breaker.clone(), TOPIC, upstream_url).await?;
    let serving = server.serve(any_port, service).await?;

    let ledger = ledger::feed(&http, &format!("http://{}/orders", serving.local_addr()), orders).await?;
    let consumed = ledger::consume(&kafka, TOPIC, ledger.accepted, WITHIN).await?;
    let circuits = breaker.all_circuit_states().into_iter().map(|(name, at)| (name, at.state)).collect();

    serving.close(WITHIN).await?;
    upstream.close(WITHIN).await?;
    Ok(Report { ledger, consumed, circuits })
}
