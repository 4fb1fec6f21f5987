//! The same program on several environments: the file alone says which, and the accounts are the same.

use std::time::Duration;

use example_quickstart::program::{self, Ports, Report};
use onex_environment::Environment;
use onex_spi::breaker::CircuitState;

const ORDERS: &str = include_str!("../orders.jsonl");

/// `[default]` is the memory of the example's own file; the others change engines and nothing else.
const FILE: &str = concat!(
    include_str!("../onex.toml"),
    "
[loopback.http]
engine = 'hyper'
[loopback.http_server]
engine = 'hyper'
"
);

/// What the file of orders holds, counted apart from the program: 47 lines are no order, 60 are of the region that is down.
const ORDERS_LINES: &str = "\
orders: 1000 received = 893 accepted + 47 malformed + 60 upstream-failed
orders: 893 consumed and committed
circuit directory-apac: Closed
circuit directory-eu: Closed
circuit directory-legacy: Open
circuit directory-us: Closed";

async fn run(profile: &str) -> Report {
    let env = Environment::builder()
        .with(onex_memory::provider())
        .with(onex_breaker_native::provider())
        .with(onex_http_transport_hyper::provider())
        .with(onex_http_server_hyper::provider())
        .with_variables::<String, String>([])
        .parse(FILE, "onex.toml", profile)
        .await
        .expect(profile);
    let ports = Ports {
        http: env.http_client().expect("a client"),
        server: env.http_server().expect("a server"),
        kafka: env.kafka_client().expect("a client"),
        breaker: env.circuit_breaker().expect("a breaker"),
    };
    let report = program::run(&ports, ORDERS).await.expect(profile);
    env.close(Duration::from_secs(10)).await.expect(profile);
    report
}

/// ONEX-EX-11, CARD-17: one program, two environments, one account.
/// ONEX-EX-05: produce, consume and commit without a broker.
#[tokio::test]
async fn every_order_is_accounted_for_alike_on_memory_and_on_hyper() {
    let (memory, loopback) = (run("default").await, run("loopback").await);
    assert_eq!(memory.to_string(), ORDERS_LINES);
    assert_eq!(loopback, memory);
}

#[tokio::test]
async fn the_account_adds_up_and_the_circuit_of_the_dead_region_alone_is_open() {
    let Report { ledger, consumed, circuits, .. } = run("default").await;
    assert_eq!(ledger.received, ORDERS.lines().count() as u64);
    assert_eq!(ledger.received, ledger.accepted + ledger.malformed + ledger.upstream_failed);
    assert_eq!(consumed, ledger.accepted);
    let open: Vec<&str> =
        circuits.iter().filter(|(_, state)| **state == CircuitState::Open).map(|(name, _)| &**name).collect();
    assert_eq!(open, ["directory-legacy"]);
}
