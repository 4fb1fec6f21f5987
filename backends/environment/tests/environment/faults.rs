//! Everything that can be wrong in a file, and the line that says so.

use onex_environment::{Environment, EnvironmentBuilder};
use onex_spi::ErrorKind;
use onex_spi::http::HttpFeature;
use onex_spi::kafka::KafkaFeature;
use onex_spi::provider::Port;

use crate::support::{Fake, Journal};

const KAFKA: &[Port] = &[Port::KafkaDriver];

fn builder(journal: &Journal) -> EnvironmentBuilder {
    Environment::builder()
        .with(Fake::new("real", journal))
        .with(Fake::new("memory", journal).for_development())
        .with(Fake::new("strict", journal).only(KAFKA).with_required_url())
        .with_variables::<String, String>([])
}

/// The lines between the first and the last of the one error.
pub(crate) async fn faults(
    builder: EnvironmentBuilder,
    text: &str,
    profile: &str,
    journal: &Journal,
) -> Vec<String> {
    let error = builder.parse(text, "onex.toml", profile).await.expect_err(text);
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert_eq!(journal.take(), Vec::<String>::new(), "something was opened for {text}");
    let message = error.message();
    let mut lines: Vec<_> = message.lines().map(|line| line.trim_start().to_owned()).collect();
    assert_eq!(lines.remove(0), format!("onex.toml does not describe the profile `{profile}`:"));
    let last = lines.pop().expect("a last line");
    let plural = if lines.len() == 1 { "" } else { "s" };
    assert_eq!(last, format!("{} error{plural}; nothing was opened", lines.len()));
    lines
}

#[tokio::test]
async fn onex_gen_03_every_fault_names_file_line_column_rule_and_way_out() {
    // ONEX-GEN-03.
    let keys = "`bootstrap_servers`, `client_id`, `port`, `batch`, `password`, `proxy`, `dangerous_trust_all`, \
                `mode`, `pool`, `tuning`";
    let unknown_key = format!("kafka.prot: unknown field `prot`, expected one of {keys}");
    let cases: &[(&str, &str, &str)] = &[
        // Profiles.
        ("[default]\n[live]", "prod", "1:1: unknown profile `prod`; known: `default`, `live`"),
        ("", "default", "1:1: unknown profile `default`; known: none"),
        (
            "engine = 'real'\n[test]",
            "test",
            "1:1: engine: stands outside of every profile; write it in [default] or in a profile",
        ),
        (
            "[test]\n[kafka]\nengine = 'real'",
            "test",
            "2:2: kafka: is a section, and sections stand in profiles; write [default.kafka]",
        ),
        ("[test]\nproduction = 'yes'", "test", "2:14: test.production: must be true or false"),
        (
            "[default]\nallow_development_engines = true\n[test]",
            "test",
            "2:1: default.allow_development_engines: stands in every profile from here; write it in the profile that it is meant for",
        ),
        (
            "[production]\nproduction = false",
            "production",
            "2:14: production.production: the profile named production is always one of production; rename it, or take this out",
        ),
        // Sections.
        (
            "[test.kafak]\nengine = 'real'",
            "test",
            "1:7: test.kafak: unknown section `kafak`; known: `breaker`, `http`, `http_server`, `kafka`",
        ),
        (
            "[other.kafak]\n[test]",
            "test",
            "1:8: other.kafak: unknown section `kafak`; known: `breaker`, `http`, `http_server`, `kafka`",
        ),
        ("[test]\nkafka = 'real'", "test", "2:9: test.kafka: a section is a table; write [test.kafka]"),
        (
            "[test.http]\nengine = 'real'\nclient = 5",
            "test",
            "3:10: test.http.client: belongs to the policy and is a table; write [test.http.client]",
        ),
        // Engines.
        (
            "[test]\n  [test.kafka]\n  port = 1",
            "test",
            "2:9: kafka: no engine is named; write engine = \"..\" in [test.kafka]; registered: `real`, `memory`, `strict`",
        ),
        (
            "[test.http]\nengine = 'strict'",
            "test",
            "2:10: http.engine: unknown engine `strict`; registered for http: `real`, `memory`",
        ),
        (
            "[test.kafka]\nengine = 7",
            "test",
            "2:10: test.kafka.engine: must be the name of an engine in quotes",
        ),
        (
            "[test.kafka]\nengine = ''",
            "test",
            "2:10: test.kafka.engine: must be the name of an engine in quotes",
        ),
        (
            "[production.kafka]\nengine = 'memory'",
            "production",
            "2:10: kafka.engine: `memory` is not for production, which the profile production is; name another engine, or \
          write allow_development_engines = true in [production]",
        ),
        (
            "[live]\nproduction = true\nkafka.engine = 'memory'",
            "live",
            "3:16: kafka.engine: `memory` is not for production, which the profile live is; name another engine, or \
          write allow_development_engines = true in [live]",
        ),
        // Keys.
        ("[test.kafka]\nengine = 'real'\n  prot = 1", "test", &format!("3:3: {unknown_key}")),
        ("[default.kafka]\nengine = 'real'\nprot = 1\n[test]", "test", &format!("3:1: {unknown_key}")),
        (
            "[test.kafka]\nengine = 'real'\nport = 'x'",
            "test",
            "3:8: kafka.port: invalid type: string \"x\", expected u16",
        ),
        // ONEX-GEN-08: an unknown word is told with those that are known.
        (
            "[test.kafka]\nengine = 'real'\nmode = 'quick'",
            "test",
            "3:8: kafka.mode: unknown variant `quick`, expected `fast` or `safe`",
        ),
        (
            "[test.kafka]\nengine = 'real'\nport = 70000",
            "test",
            "3:8: kafka.port: invalid value: integer `70000`, expected u16",
        ),
        (
            "[test.kafka]\nengine = 'real'\nport = 99999999999999999999",
            "test",
            "3:8: port: the number does not fit into 64 bits",
        ),
        (
            "[test.kafka]\nengine = 'real'\npool = { most = 1, lest = 1 }",
            "test",
            "3:20: kafka.pool.lest: unknown field `lest`, expected `most` or `least`",
        ),
        (
            "[test.kafka]\nengine = 'real'\n[test.kafka.tuning]\n'a.b' = 'x'\n'socket.size' = 5",
            "test",
            "5:17: kafka.tuning.socket.size: invalid type: integer `5`, expected a string",
        ),
        (
            "[test.kafka]\nengine = 'real'\nbootstrap_servers = ['a', 5]",
            "test",
            "3:21: kafka.bootstrap_servers: invalid type: integer `5`, expected a string",
        ),
        (
            "[test.kafka]\nengine = 'real'\npool.least = 5\npool.most = 1",
            "test",
            "3:14: kafka.pool.least: must not be above pool.most",
        ),
        ("[test.kafka]\nengine = 'strict'", "test", "2:10: kafka.url: missing field `url`"),
        (
            "[production.http]\nengine = 'real'\npool.dangerous_x = 1",
            "production",
            "3:6: http.pool.dangerous_x: is not for production, which the profile production is; take it out, or write \
          allow_dangerous_keys = true in [production]",
        ),
        // Secrets.
        (
            "[test.kafka]\nengine = 'real'\npassword = 'hunter2'",
            "test",
            "3:12: test.kafka.password: a secret must not stand in the file; write `env:NAME` or `file:PATH` here",
        ),
        (
            "[other.kafka]\npassword = 'hunter2'\n[test]",
            "test",
            "2:12: other.kafka.password: a secret must not stand in the file; write `env:NAME` or `file:PATH` here",
        ),
        (
            "[test.kafka]\nengine = 'real'\ntuning.'sasl.PassWord' = 'hunter2'",
            "test",
            "3:26: test.kafka.tuning.sasl.PassWord: a secret must not stand in the file; write `env:NAME` or `file:PATH` here",
        ),
        (
            "[test.http]\nengine = 'real'\nproxy = 'http://me:hunter2@proxy:8080'",
            "test",
            "3:9: test.http.proxy: a URL with a password must not stand in the file; write `env:NAME` or `file:PATH` here",
        ),
        (
            "[test.kafka]\nengine = 'real'\npassword = 'env:KAFKA_PASSWORD'",
            "test",
            "3:12: kafka.password: `env:KAFKA_PASSWORD`: the variable is not set; set it",
        ),
        (
            "[test.kafka]\nengine = 'real'\nclient_id = 'env:'",
            "test",
            "3:13: kafka.client_id: `env:` names nothing; write `env:NAME` or `file:PATH`",
        ),
        (
            "[test.kafka]\nengine = 'real'\npassword = 'file:/nowhere/secret'",
            "test",
            "3:12: kafka.password: `file:/nowhere/secret`: cannot open the file: entity not found",
        ),
        (
            "[test.kafka]\nengine = 'real'\nbootstrap_servers = ['a', 'env:NONE']",
            "test",
            "3:27: kafka.bootstrap_servers: `env:NONE`: the variable is not set; set it",
        ),
    ];
    for (text, profile, expected) in cases {
        let journal = Journal::default();
        let expected = match expected.split_once(": ") {
            Some((place, _)) if place.contains(':') => format!("onex.toml:{expected}"),
            _ => (*expected).to_owned(),
        };
        // An integer that does not fit leaves no document to go on with; all else is told by one line too.
        assert_eq!(faults(builder(&journal), text, profile, &journal).await, [expected], "{text}");
    }
}

#[tokio::test]
async fn all_faults_are_told_together_in_the_order_of_the_file() {
    let journal = Journal::default();
    let text = "\
[default.breaker]
engine = 'natvie'
[test.kafka]
engine = 'real'
prot = 1
port = 'x'
batch = 0
password = 'env:KAFKA_PASSWORD'
client_ids = 'a'
pool = { most = true, lest = 1 }
[test.http]
[test.metrics]
";
    let builder = builder(&journal)
        .with(Fake::new("real", &journal).only(KAFKA))
        .with_variables([("ONEX__KAFKA__CLIENT", "x"), ("ONEX__KAFAK__PORT", "1")]);
    let lines = faults(builder, text, "test", &journal).await;
    let places: Vec<&str> = lines.iter().map(|line| line.split(": ").next().unwrap_or_default()).collect();
    assert_eq!(
        places,
        [
            "onex.toml:2:10",
            "onex.toml:5:1",
            "onex.toml:6:8",
            "onex.toml:8:12",
            "onex.toml:9:1",
            "onex.toml:10:17",
            "onex.toml:10:23",
            "onex.toml:11:7",
            "onex.toml:12:7",
            "variable ONEX__KAFAK__PORT",
            "variable ONEX__KAFKA__CLIENT",
            "program"
        ],
        "{lines:#?}"
    );
}

#[tokio::test]
async fn syntax_errors_are_told_alone_and_all() {
    let journal = Journal::default();
    let lines = faults(builder(&journal), "[test]\nx =\n[default]\ny = 'a\n[test]", "test", &journal).await;
    let places: Vec<&str> = lines.iter().map(|line| line.split(": ").next().unwrap_or_default()).collect();
    assert_eq!(places, ["onex.toml:2:4", "onex.toml:4:7", "onex.toml:5:2"], "{lines:#?}");
}

#[tokio::test]
async fn a_bad_variable_is_told_by_its_name_and_never_by_its_value() {
    let cases = [
        (
            "ONEX__KAFAK__PORT",
            "hunter2",
            "unknown section `kafak`; known: `breaker`, `http`, `http_server`, `kafka`",
        ),
        ("ONEX__KAFKA", "hunter2", "names no key; write ONEX__SECTION__KEY, such as ONEX__KAFKA__ENGINE"),
        ("ONEX__KAFKA__", "hunter2", "names no key; write ONEX__SECTION__KEY, such as ONEX__KAFKA__ENGINE"),
        ("ONEX__PRODUCTION", "false", "names no key; write ONEX__SECTION__KEY, such as ONEX__KAFKA__ENGINE"),
        ("ONEX__KAFKA__PASSWORD__X", "hunter2", "kafka.password: invalid type: map, expected a string"),
        ("ONEX__KAFKA__PORT", "many", "kafka.port: invalid type: string \"many\", expected u16"),
        (
            "ONEX__KAFKA__PASSWORD",
            "env:NOT_THERE",
            "kafka.password: `env:NOT_THERE`: the variable is not set; set it",
        ),
        (
            "ONEX__HTTP__PORT",
            "1",
            "http: no engine is named; write engine = \"..\" in [test.http]; registered: `real`, `memory`",
        ),
    ];
    for (name, value, expected) in cases {
        let journal = Journal::default();
        let builder = builder(&journal).with_variables([(name, value)]);
        let lines = faults(builder, "[test.kafka]\nengine = 'real'", "test", &journal).await;
        assert_eq!(lines, [format!("variable {name}: {expected}")]);
        assert!(!lines[0].contains("hunter2"));
    }
    let journal = Journal::default();
    let deep = format!("ONEX__KAFKA{}", "__A".repeat(30_000));
    let lines = faults(
        builder(&journal).with_variables([(deep, "1")]),
        "[test.kafka]\nengine = 'real'",
        "test",
        &journal,
    )
    .await;
    assert!(lines[0].ends_with(": names a key below 80 levels"), "{lines:.99?}");
    let journal = Journal::default();
    let twice = [("ONEX__KAFKA__POOL", "1"), ("ONEX__KAFKA__POOL__MOST", "2")];
    let lines =
        faults(builder(&journal).with_variables(twice), "[test.kafka]\nengine = 'real'", "test", &journal)
            .await;
    let expected = "variable ONEX__KAFKA__POOL__MOST: kafka.pool.most: another variable sets the table that this key stands in";
    assert!(lines.contains(&expected.to_owned()), "{lines:#?}");
}

#[tokio::test]
async fn two_faults_of_one_key_are_told_at_that_key() {
    let journal = Journal::default();
    let lines = faults(builder(&journal), "[test.kafka]\nengine = 'real'\nbatch = 0", "test", &journal).await;
    assert_eq!(
        lines,
        ["onex.toml:3:9: kafka.batch: and is read twice", "onex.toml:3:9: kafka.batch: must be at least 1"]
    );
}

#[tokio::test]
async fn all_that_is_wrong_in_one_variable_is_told() {
    let journal = Journal::default();
    let builder = builder(&journal).with_variables([("ONEX__KAFKA__POOL", "{ lest = 1, mots = 2 }")]);
    let lines = faults(builder, "[test.kafka]\nengine = 'real'", "test", &journal).await;
    let expected = ["lest", "mots"].map(|key| {
        format!(
            "variable ONEX__KAFKA__POOL: kafka.pool.{key}: unknown field `{key}`, expected `most` or `least`"
        )
    });
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn no_secret_is_shown_in_what_an_engine_says_about_it() {
    // The secret is of a wrong type where it stands, so that serde shows it.
    let journal = Journal::default();
    let text = "[test.kafka]\nengine = 'real'\nport = 'env:PORT_SECRET'\n[test.http]\nengine = 'real'\nport = 'env:B'";
    let variables =
        [("PORT_SECRET", "hun\"ter2"), ("B", "second\nsecret"), ("ONEX__HTTP__POOL__TOKEN", "third")];
    let builder = builder(&journal).with_variables(variables);
    let shown = format!("{builder:?}");
    assert!(shown.contains("PORT_SECRET") && !shown.contains("ter2") && !shown.contains("third"), "{shown}");
    let lines = faults(builder, text, "test", &journal).await;
    assert_eq!(
        lines,
        [
            "onex.toml:3:8: kafka.port: invalid type: string \"env:PORT_SECRET\", expected u16",
            "onex.toml:6:8: http.port: invalid type: string \"env:B\", expected u16",
            "variable ONEX__HTTP__POOL__TOKEN: http.pool.token: unknown field `token`, expected `most` or `least`",
        ]
    );
}

#[tokio::test]
async fn what_the_program_requires_is_asked_before_anything_is_opened() {
    let journal = Journal::default();
    let builder = builder(&journal)
        .require(KafkaFeature::Groups)
        .require(HttpFeature::Wire)
        .require(Port::CircuitBreaker);
    let lines = faults(builder, "[test.kafka]\nengine = 'real'", "test", &journal).await;
    assert_eq!(
        lines,
        [
            "onex.toml:1:1: the program requires breaker; add [test.breaker] with an engine; registered: `real`, `memory`",
            "onex.toml:1:1: the program requires http with Wire; add [test.http] with an engine; registered: `real`, `memory`",
        ]
    );
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_told_by_its_kind() {
    let folder = tempfile::tempdir().expect("a folder");
    let journal = Journal::default();
    let absent = folder.path().join("absent.toml");
    let error = builder(&journal).load(&absent, "test").await.expect_err("no file");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.message().contains("absent.toml"), "{error}");

    let binary = folder.path().join("binary.toml");
    std::fs::write(&binary, [b'#', 0xff]).expect("written");
    let error = builder(&journal).load(&binary, "test").await.expect_err("no text");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);

    let long = folder.path().join("long.toml");
    std::fs::write(&long, "#".repeat((1 << 20) + 1)).expect("written");
    let error = builder(&journal).load(&long, "test").await.expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}
