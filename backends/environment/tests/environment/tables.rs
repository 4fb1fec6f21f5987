//! Tables of the program's own, beside the profiles.

use onex_environment::{Environment, EnvironmentBuilder};
use onex_spi::provider::{KeyError, Port, Table};

/// Wants a `port` in every lane, and rules that are texts of at most three letters.
fn judge(lanes: &Table, ports: &[Port]) -> Vec<KeyError> {
    let mut errors = Vec::new();
    for (name, lane) in lanes {
        let Some(lane) = lane.as_table() else { continue };
        if !lane.contains_key("port") {
            errors.push(KeyError::new(&format!("{name}.port"), "missing field `port`"));
        }
        if lane.get("needs_kafka").is_some() && !ports.contains(&Port::KafkaDriver) {
            errors
                .push(KeyError::new(&format!("{name}.needs_kafka"), "the profile names no engine for kafka"));
        }
        for key in lane.keys().filter(|key| !["port", "rules", "needs_kafka"].contains(&key.as_str())) {
            errors.push(KeyError::new(&format!("{name}.{key}"), format!("unknown field `{key}`")));
        }
        let rules = lane.get("rules").and_then(|rules| rules.as_array()).into_iter().flatten();
        for (number, rule) in rules.enumerate() {
            if rule.get("if").and_then(|text| text.as_str()).is_some_and(|text| text.len() > 3) {
                errors.push(KeyError::new(&format!("{name}.rules.{}.if", number + 1), "is too long"));
            }
        }
    }
    errors
}

fn builder() -> EnvironmentBuilder {
    Environment::builder()
        .with(onex_memory::provider())
        .with_variables([("PORT", "seven")])
        .table("lanes", judge)
}

const GOOD: &str = "[default]\nkafka.engine = 'memory'\n[lanes.a]\nport = 'env:PORT'\nneeds_kafka = true\nrules = [\n  { if = 'abc' },\n  { if = 'd' },\n]";

#[tokio::test]
async fn a_table_of_the_program_is_handed_over_once_with_its_references_resolved() {
    let environment = builder().parse(GOOD, "x.toml", "default").await.expect("good");
    let lanes = environment.take_table("lanes").expect("it is there");
    assert_eq!(lanes["a"]["port"].as_str(), Some("seven"));
    assert!(
        environment.take_table("lanes").is_some_and(|again| again.is_empty()),
        "secrets are kept no longer"
    );
    assert_eq!(environment.take_table("other"), None);
    let place = |path: &[&str]| environment.place(path);
    assert_eq!(place(&["lanes", "a", "port"]), "x.toml:4:1");
    assert_eq!(place(&["lanes", "a", "rules", "2"]), "x.toml:8:3");
    assert_eq!(place(&["lanes", "a", "nothing"]), "x.toml:3:1");
}

#[tokio::test]
async fn everything_wrong_in_it_is_told_with_the_rest_of_the_file() {
    let text = "[default]\nkafak.engine = 'memory'\n[lanes.a]\nprot = 1\nneeds_kafka = true\nrules = [\n  { if = 'abcd' },\n  { if = 'd' },\n  { if = 'efgh' },\n]\nt = 'env:NO'\n[lanes.b]\nport = 1\nsecret = 'x'";
    let error = builder().parse(text, "x.toml", "default").await.expect_err("bad");
    let told: Vec<&str> = error.message().lines().skip(1).collect();
    assert_eq!(
        told,
        [
            "  x.toml:2:1: default.kafak: unknown section `kafak`; known: `breaker`, `http`, `http_server`, `kafka`",
            "  x.toml:3:8: lanes.a.port: missing field `port`",
            "  x.toml:4:1: lanes.a.prot: unknown field `prot`",
            "  x.toml:5:15: lanes.a.needs_kafka: the profile names no engine for kafka",
            "  x.toml:7:10: lanes.a.rules.1.if: is too long",
            "  x.toml:9:10: lanes.a.rules.3.if: is too long",
            "  x.toml:11:5: lanes.a.t: `env:NO`: the variable is not set; set it",
            "  x.toml:14:10: lanes.b.secret: a secret must not stand in the file; write `env:NAME` or `file:PATH` here",
            "8 errors; nothing was opened",
        ]
    );
}

#[tokio::test]
async fn a_file_can_be_checked_and_nothing_is_opened() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.toml");
    std::fs::write(&path, GOOD).expect("written");
    builder().check(&path, "default").await.expect("good");
    std::fs::write(&path, "[default]\n[lanes]\na = {}").expect("written");
    let error = builder().check(&path, "default").await.expect_err("bad");
    assert!(error.message().contains(":3:1: lanes.a.port: missing field `port`"), "{error}");
    std::fs::write(&path, "lanes = 1\n[default]").expect("written");
    let error = builder().check(&path, "default").await.expect_err("bad");
    assert!(error.message().contains(":1:9: lanes: must be a table; write [lanes.NAME]"), "{error}");
}
