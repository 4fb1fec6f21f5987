//! What every port and every option promises by its shape.

use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use onex_spi::breaker::{Circuit, CircuitBreaker, CircuitBreakerConfig};
use onex_spi::bridge::{BridgeProtocol, BridgeSource, BridgeTarget, CommunicationBridge};
use onex_spi::http::{
    HttpClient, HttpServer, HttpService, HttpServing, HttpTimeouts, HttpTransport, RetryPolicy,
};
use onex_spi::kafka::{
    ConsumerConfig, ConsumerDriver, KafkaClient, KafkaDriver, PollRequest, ProducerConfig, ProducerDriver,
};
use serde::de::DeserializeOwned;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, into);
        } else {
            into.push(path);
        }
    }
}

/// ONEX-GEN-11: callers share a port among tasks, and each call that waits says what dropping it leaves behind.
#[test]
fn every_call_of_a_port_that_waits_documents_its_cancellation() {
    fn shared<P: ?Sized + Send + Sync + 'static>() {}
    shared::<dyn HttpClient>();
    shared::<dyn HttpTransport>();
    shared::<dyn HttpServer>();
    shared::<dyn HttpServing>();
    shared::<dyn HttpService>();
    shared::<dyn KafkaClient>();
    shared::<dyn KafkaDriver>();
    shared::<dyn ProducerDriver>();
    shared::<dyn ConsumerDriver>();
    shared::<dyn CircuitBreaker>();
    shared::<dyn Circuit>();
    shared::<dyn CommunicationBridge>();
    shared::<dyn BridgeProtocol>();
    shared::<dyn BridgeSource>();
    shared::<dyn BridgeTarget>();

    let mut files = Vec::new();
    sources(&root().join("spi/src"), &mut files);
    let (mut checked, mut silent) = (0, Vec::new());
    for file in files {
        let source = fs::read_to_string(&file).expect("a source");
        let (mut port, mut docs) = (false, String::new());
        for line in source.lines() {
            port |= line.starts_with("pub trait ");
            port &= line != "}";
            let code = line.trim_start();
            if code.starts_with("///") || code.starts_with("#[") {
                docs.push_str(code);
                continue;
            }
            if port && code.starts_with("async fn ") {
                checked += 1;
                assert!(
                    code.contains("&self") || code.ends_with('('),
                    "{code} takes more than a shared self"
                );
                if !docs.contains("# Cancellation") {
                    silent.push(format!("{}: {code}", file.display()));
                }
            }
            docs.clear();
        }
    }
    assert!(silent.is_empty(), "{silent:#?}");
    assert!(checked >= 30, "only {checked} calls were looked at");
}

/// ONEX-GEN-10: options are structs with defaults, and a file that says nothing of one gets them.
#[test]
fn an_option_that_is_left_out_has_its_default() {
    fn left_out<T: DeserializeOwned + Default + PartialEq + Debug>() {
        assert_eq!(serde_json::from_str::<T>("{}").expect("no key is needed"), T::default());
    }
    left_out::<ProducerConfig>();
    left_out::<RetryPolicy>();
    left_out::<CircuitBreakerConfig>();
    let group: ConsumerConfig = serde_json::from_str(r#"{"group_id":"readers"}"#).expect("the group alone");
    assert_eq!(group, ConsumerConfig::new("readers"));
    let (_, _) = (HttpTimeouts::default(), PollRequest::default());
}

/// The packages that the manifest of `folder` builds with, without those of its tests.
fn packages(folder: &str) -> Vec<String> {
    let path = root().join(folder).join("Cargo.toml");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let after = text.split("\n[dependencies]\n").nth(1).expect("dependencies");
    let table = after.split("\n[").next().expect("a table");
    let named = table.lines().filter_map(|line| line.split(['.', ' ', '=']).next());
    named.filter(|name| !name.is_empty() && !name.starts_with('#')).map(str::to_owned).collect()
}

/// CARD-02, CARD-03, CARD-04, CARD-05, CARD-08, CARD-12, CARD-13, CARD-14: each package does the work that the card gives it,
/// where the card wants it; the suites of those crates prove that the work is done.
#[test]
fn the_packages_of_the_card_stand_where_it_wants_them() {
    let has = |folder: &str, package: &str| packages(folder).iter().any(|name| name == package);
    for (folder, package) in [
        ("spi", "async-trait"),
        ("spi", "serde"),
        ("backends/http-transport-reqwest", "reqwest"),
        ("backends/kafka-rdkafka", "rdkafka"),
        ("backends/breaker-failsafe", "failsafe"),
        ("backends/environment", "tracing"),
        ("testkit", "mockall"),
    ] {
        assert!(has(folder, package), "{folder} does not build with {package}");
    }
    let mut backends = 0;
    for entry in fs::read_dir(root().join("backends")).expect("the backends") {
        let name = entry.expect("an entry").file_name().into_string().expect("a name");
        let folder = format!("backends/{name}");
        backends += 1;
        // A breaker waits for nothing, and the HTTP policy only for its clock and its engine: they run anywhere.
        let anywhere = name.starts_with("breaker-") || name == "http-client";
        assert!(anywhere || has(&folder, "tokio"), "{folder} does not run on tokio");
        // C code is built by one crate, which its users name.
        assert_eq!(has(&folder, "rdkafka"), name == "kafka-rdkafka", "{folder}");
    }
    assert!(backends >= 10, "only {backends} backends were looked at");
}
