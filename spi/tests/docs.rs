//! Holds `docs/onex.md` and `docs/errors.md` against the code.

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn source(folder: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder);
    let files = fs::read_dir(path).expect("a folder of sources").map(|entry| entry.expect("an entry").path());
    files.map(|file| fs::read_to_string(file).expect("a source file")).collect()
}

/// Every operation, type, literal and field of the six protocols.
const ONEX: &str = "
    ProtocolHttpClient get post put delete patch request get_client_metrics configure_retry_policy configure_circuit_breaker
    url method headers params data json timeout_seconds ProtocolHttpResponse status_code json() ProtocolRetryPolicy max_retries
    backoff_factor retry_on_status_codes ProtocolHttpClientMetrics
    ProtocolHttpExtended stream_request chunk_size websocket_connect protocols ProtocolWebSocketConnection send receive
    authenticate_oauth2 token_url client_id client_secret scope ProtocolOAuth2Token access_token authenticate_jwt token algorithm
    ProtocolJWTClaims compress_request decompress_response compression_type LiteralCompressionType none gzip deflate brotli
    get_connection_pool_stats ProtocolConnectionPoolStats
    ProtocolKafkaClient create_producer create_consumer producer_id consumer_id client_id produce_message topic key value partition
    consume_messages topics timeout_ms commit_offsets offsets get_consumer_group_info group_id create_topic partitions
    replication_factor delete_topic get_topic_metadata get_kafka_metrics ProtocolKafkaProducerConfig bootstrap_servers acks retries
    ProtocolKafkaConsumerConfig auto_offset_reset ProtocolKafkaProduceResult offset ProtocolKafkaMessage ProtocolConsumerGroupInfo
    ProtocolTopicMetadata ProtocolKafkaMetrics
    ProtocolKafkaExtended create_stream_processor process_kafka_stream processor_id input_topics output_topic processor_func
    ProtocolKafkaStreamConfig application_id ProtocolKafkaStreamProcessor register_schema get_schema check_schema_compatibility
    subject schema schema_type version ProtocolSchemaInfo ProtocolCompatibilityResult LiteralSchemaType AVRO JSON PROTOBUF
    optimize_kafka_performance settings get_kafka_diagnostics ProtocolKafkaDiagnostics configure_kafka_security security_config
    ProtocolKafkaSecurityConfig
    ProtocolCircuitBreaker execute_with_circuit_breaker operation circuit_name get_circuit_state config reset_circuit_breaker
    get_circuit_metrics get_all_circuit_states force_circuit_open force_circuit_closed ProtocolCircuitBreakerConfig failure_threshold
    success_threshold ProtocolCircuitBreakerMetrics failure_count success_count state_transitions LiteralCircuitState closed open
    half_open CircuitBreakerOpenError CircuitBreakerFailure
    ProtocolCommunicationBridge create_bridge bridge_name source_protocol target_protocol destroy_bridge bridge_id
    send_message_through_bridge message get_bridge_status get_bridge_metrics get_all_bridges monitor_bridge_health
    configure_bridge_routing routing_rules ProtocolBridgeConfig source_endpoint target_topic message_format ProtocolBridgeMessage
    payload metadata ProtocolBridgeResult success message_id ProtocolBridgeStatus state messages_processed ProtocolBridgeMetrics
    ProtocolBridgeInfo ProtocolBridgeHealth ProtocolRoutingRule condition
    get_http_client get_http_extended get_kafka_client get_circuit_breaker get_communication_bridge";

/// ONEX-GEN-01, ONEX-GEN-05: every name of the protocols has its place on the page.
#[test]
fn the_onex_page_names_everything() {
    let page = read("docs/onex.md");
    let missing: Vec<&str> = ONEX
        .split_whitespace()
        .filter(|name| !page.contains(&format!("`{name}`")) && !page.contains(&format!("## {name}\n")))
        .collect();
    assert!(missing.is_empty(), "docs/onex.md has no place for {missing:?}");
}

/// A path on the page that does not say "to come" exists in the module that it names.
#[test]
fn the_onex_page_points_at_what_exists() {
    let page = read("docs/onex.md");
    let mut checked = 0;
    for row in page.lines().filter(|line| line.starts_with("| `") && !line.contains("*to come*")) {
        let place = row.split('|').nth(2).expect("a second column");
        for path in place.split('`').filter(|text| text.contains("::")) {
            let (module, rest) = path.split_once("::").expect("a module");
            let source = source(module);
            for name in rest.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|name| !name.is_empty())
            {
                let found = ["pub struct ", "pub trait ", "pub enum ", "fn ", "pub "]
                    .iter()
                    .any(|prefix| source.contains(&format!("{prefix}{name}")));
                // Ids come from a macro, variants stand alone on a line.
                assert!(
                    found || source.contains(&format!("    {name}")),
                    "`{path}` on the page, `{name}` not in {module}"
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 80, "only {checked} names were checked");
}

/// The variants of an enum as they stand in the source.
fn variants(source: &str, name: &str) -> Vec<String> {
    let body = source
        .split(&format!("pub enum {name} {{"))
        .nth(1)
        .expect("the enum")
        .split("\n}")
        .next()
        .expect("its end");
    body.lines()
        .map(str::trim)
        .filter(|line| line.ends_with(',') && line.starts_with(char::is_uppercase))
        .map(|line| line.trim_end_matches(',').to_owned())
        .collect()
}

/// STARK-ERR-01: every kind, reason, phase and recovery, and every variant of the acceptance table, is mapped.
#[test]
fn the_errors_page_maps_every_variant() {
    let page = read("docs/errors.md");
    let enums = [
        ("", "ErrorKind", 15),
        ("", "Effect", 2),
        ("http", "HttpReason", 17),
        ("http", "HttpPhase", 7),
        ("kafka", "Recovery", 4),
        ("bridge", "BridgeReason", 8),
        ("bridge", "DeadReason", 8),
    ];
    for (folder, name, count) in enums {
        let text = if folder.is_empty() { read("spi/src/error.rs") } else { source(folder) };
        let variants = variants(&text, name);
        assert_eq!(variants.len(), count, "{name}: {variants:?}");
        for variant in variants {
            assert!(page.contains(&format!("`{variant}`")), "docs/errors.md does not map {name}::{variant}");
        }
    }
    for number in 1..=52 {
        assert!(mentions(&page, number), "docs/errors.md does not map STARK-ERR-{number:02}");
    }
}

/// Whether the page names the row, by itself or inside "A to B".
fn mentions(page: &str, number: u32) -> bool {
    let numbers: Vec<(usize, u32)> = page
        .match_indices("STARK-ERR-")
        .filter_map(|(at, prefix)| {
            Some((at, page.get(at + prefix.len()..at + prefix.len() + 2)?.parse().ok()?))
        })
        .collect();
    numbers.iter().any(|(_, named)| *named == number)
        || numbers.windows(2).any(|pair| {
            let between = &page[pair[0].0..pair[1].0];
            between.ends_with(" to ") && (pair[0].1..=pair[1].1).contains(&number)
        })
}

/// CARD-01: the dependency list holds no network library and no runtime.
#[test]
fn the_spi_depends_on_no_network_library() {
    let list = read("spi/DEPENDENCIES.txt");
    for name in ["tokio", "mio", "hyper", "reqwest", "rdkafka", "socket2", "rustls", "h2", "tower"] {
        assert!(
            !list.lines().any(|line| line.starts_with(&format!("{name} "))),
            "{name} is in the SPI's tree"
        );
    }
}

/// CARD-15: the top level is what the design says.
#[test]
fn the_top_level_has_its_entries() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for entry in ["Cargo.toml", "spi", "backends", "testkit", "examples", "docs", "README.md"] {
        assert!(top.join(entry).exists(), "{entry} is missing");
    }
}
