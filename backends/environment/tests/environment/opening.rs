//! What is opened with which keys, and how it ends.

use std::future::Future;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use onex_environment::{Environment, EnvironmentBuilder};
use onex_spi::http::HttpFeature;
use onex_spi::kafka::KafkaFeature;
use onex_spi::provider::Port;
use onex_spi::{Effect, Error, ErrorKind, Health};
use onex_testkit::clock::ManualClock;

use crate::support::{Ending, Fake, Journal};

fn builder(journal: &Journal) -> EnvironmentBuilder {
    Environment::builder()
        .with(Fake::new("real", journal))
        .with(Fake::new("memory", journal).for_development())
        .with_variables::<String, String>([])
}

/// The table that kafka's engine was opened with.
async fn kafka(builder: EnvironmentBuilder, text: &str, profile: &str, journal: &Journal) -> String {
    builder.parse(text, "onex.toml", profile).await.expect(text);
    let opened = journal.take();
    assert_eq!(opened.len(), 1, "{opened:?}");
    opened[0].clone()
}

#[tokio::test]
async fn onex_ex_11_a_profile_is_laid_over_the_default() {
    // ONEX-EX-11, CARD-17: one file, one program, another engine per profile.
    let journal = Journal::default();
    let text = "\
[default.kafka]
engine = 'memory'
client_id = 'orders'
pool = { most = 9, least = 1 }
[test]
[tuned.kafka]
pool.most = 5
[live.kafka]
engine = 'real'
port = 1
";
    assert_eq!(
        kafka(builder(&journal), text, "test", &journal).await,
        "open memory for kafka with {\"client_id\": String(\"orders\"), \"pool\": Table({\"least\": Integer(1), \"most\": Integer(9)})}"
    );
    assert_eq!(
        kafka(builder(&journal), text, "tuned", &journal).await,
        "open memory for kafka with {\"client_id\": String(\"orders\"), \"pool\": Table({\"least\": Integer(1), \"most\": Integer(5)})}"
    );
    // Another engine discards the keys of the one below.
    assert_eq!(
        kafka(builder(&journal), text, "live", &journal).await,
        "open real for kafka with {\"port\": Integer(1)}"
    );
    assert!(kafka(builder(&journal), text, "default", &journal).await.starts_with("open memory for kafka"));
}

#[tokio::test]
async fn a_variable_is_laid_over_the_profile_and_takes_the_type_that_its_key_asks_for() {
    let text = "[test.kafka]\nengine = 'real'\nport = 1\nbootstrap_servers = ['x:1']\npool.most = 3";
    let cases = [
        ("ONEX__KAFKA__PORT", "92", "\"port\": Integer(92)"),
        ("ONEX__KAFKA__CLIENT_ID", "92", "\"client_id\": String(\"92\")"),
        ("ONEX__KAFKA__CLIENT_ID", "orders, eu", "\"client_id\": String(\"orders, eu\")"),
        ("ONEX__KAFKA__CLIENT_ID", "\"orders\"", "\"client_id\": String(\"orders\")"),
        (
            "ONEX__KAFKA__BOOTSTRAP_SERVERS",
            "a:1, b:2",
            "\"bootstrap_servers\": Array([String(\"a:1\"), String(\"b:2\")])",
        ),
        ("ONEX__KAFKA__BOOTSTRAP_SERVERS", "1", "\"bootstrap_servers\": Array([String(\"1\")])"),
        ("ONEX__KAFKA__BOOTSTRAP_SERVERS", "['a:1']", "\"bootstrap_servers\": Array([String(\"a:1\")])"),
        ("ONEX__KAFKA__POOL__MOST", "4", "\"pool\": Table({\"most\": Integer(4)})"),
        (
            "ONEX__KAFKA__POOL",
            "{ least = 2 }",
            "\"pool\": Table({\"least\": Integer(2), \"most\": Integer(3)})",
        ),
        ("ONEX__KAFKA__PASSWORD", "12345", "\"password\": String(\"12345\")"),
    ];
    for (name, value, expected) in cases {
        let journal = Journal::default();
        let opened = kafka(builder(&journal).with_variables([(name, value)]), text, "test", &journal).await;
        assert!(opened.contains(expected), "{name}={value}: {opened}");
    }
    // Several at once, each with its own meaning.
    let journal = Journal::default();
    let many = [
        ("ONEX__KAFKA__CLIENT_ID", "7"),
        ("ONEX__KAFKA__BOOTSTRAP_SERVERS", "8"),
        ("ONEX__KAFKA__PORT", "9"),
    ];
    let opened = kafka(builder(&journal).with_variables(many), text, "test", &journal).await;
    for expected in ["\"client_id\": String(\"7\")", "Array([String(\"8\")])", "\"port\": Integer(9)"] {
        assert!(opened.contains(expected), "{opened}");
    }
}

#[tokio::test]
async fn a_variable_may_name_the_engine_and_then_discards_the_keys_of_the_file() {
    let journal = Journal::default();
    let text = "[test.kafka]\nengine = 'real'\nport = 1";
    let variables = [("ONEX__KAFKA__ENGINE", "memory"), ("ONEX__KAFKA__CLIENT_ID", "x"), ("UNRELATED", "1")];
    let opened = kafka(builder(&journal).with_variables(variables), text, "test", &journal).await;
    assert_eq!(opened, "open memory for kafka with {\"client_id\": String(\"x\")}");
    let opened = kafka(builder(&journal).with_variables(variables), "[test]", "test", &journal).await;
    assert_eq!(opened, "open memory for kafka with {\"client_id\": String(\"x\")}");
}

#[tokio::test]
async fn secrets_come_from_variables_and_files_and_are_read_once_resolved_once() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("secret.txt"), "from a file\r\n").expect("written");
    let path = folder.path().join("onex.toml");
    let text = "\
[test.kafka]
engine = 'real'
password = 'env:KAFKA_PASSWORD'
client_id = 'file:secret.txt'
bootstrap_servers = ['a', 'env:SERVER']
";
    std::fs::write(&path, text).expect("written");
    let journal = Journal::default();
    // What a reference leads to is never looked up again.
    let variables = [("KAFKA_PASSWORD", "env:SERVER"), ("SERVER", "b")];
    builder(&journal).with_variables(variables).load(&path, "test").await.expect("a good file");
    assert_eq!(
        journal.take(),
        ["open real for kafka with {\"bootstrap_servers\": Array([String(\"a\"), String(\"b\")]), \
          \"client_id\": String(\"from a file\"), \"password\": String(\"env:SERVER\")}"]
    );
}

#[tokio::test]
async fn production_takes_development_engines_only_where_the_file_allows_it() {
    let journal = Journal::default();
    let text = "[production]\nallow_development_engines = true\nallow_dangerous_keys = true\n\
                kafka = { engine = 'memory', dangerous_trust_all = true }";
    kafka(builder(&journal), text, "production", &journal).await;
    // A dangerous key that is off is no danger, and other profiles are free.
    let text = "[production]\nkafka = { engine = 'real', dangerous_trust_all = false }\n\
                [test]\nkafka = { engine = 'memory', dangerous_trust_all = true }";
    kafka(builder(&journal), text, "production", &journal).await;
    let off = [("ONEX__KAFKA__DANGEROUS_TRUST_ALL", "false")];
    kafka(builder(&journal).with_variables(off), text, "production", &journal).await;
    let on = [("ONEX__KAFKA__DANGEROUS_TRUST_ALL", "true")];
    let refused = builder(&journal).with_variables(on).parse(text, "onex.toml", "production").await;
    assert!(refused.expect_err("dangerous").message().contains("allow_dangerous_keys"));
    kafka(builder(&journal), text, "test", &journal).await;
}

const ALL: &str = "\
[test]
http.engine = 'real'
kafka.engine = 'real'
breaker.engine = 'real'
http_server.engine = 'real'
";

#[tokio::test]
async fn every_port_is_handed_out_and_told_about() {
    // ONEX-GEN-03: no hidden globals; the environment hands out what it opened.
    let journal = Journal::default();
    let environment = builder(&journal).seed(7).parse(ALL, "onex.toml", "test").await.expect("good");
    environment.http_transport().expect("a transport");
    environment.http_server().expect("a server");
    environment.kafka_driver().expect("a driver");
    environment.http_client().expect("a client");
    environment.kafka_client().expect("a client");
    let first = environment.circuit_breaker().expect("a breaker");
    assert!(Arc::ptr_eq(&first, &environment.circuit_breaker().expect("a breaker")));
    assert_eq!(environment.profile(), "test");
    assert_eq!(environment.engine_name(Port::KafkaDriver), Some("real"));
    let told = |section: &str| Health::Degraded(format!("{section} with seed 7"));
    assert_eq!(
        environment.health().await,
        [
            (Port::CircuitBreaker, told("breaker")),
            (Port::HttpTransport, told("http")),
            (Port::KafkaDriver, told("kafka")),
            (Port::HttpServer, told("http_server")),
        ]
    );
    let shown = format!("{environment:?}");
    assert!(shown.contains("\"kafka\": \"real\""), "{shown}");
}

#[tokio::test]
async fn onex_gen_03_a_missing_section_is_told_with_what_to_write() {
    // ONEX-GEN-03: every port is asked of the environment, and a missing one is an error.
    let journal = Journal::default();
    let environment = builder(&journal).parse("[test]", "onex.toml", "test").await.expect("an empty profile");
    let refused = [
        ("http", environment.http_client().err()),
        ("http", environment.http_transport().err()),
        ("kafka", environment.kafka_client().err()),
        ("http_server", environment.http_server().err()),
        ("kafka", environment.kafka_driver().err()),
        ("breaker", environment.circuit_breaker().err()),
    ];
    for (section, error) in refused {
        let error = error.expect(section);
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let message =
            format!("onex.toml names no engine for {section}; write engine = \"..\" in [test.{section}]");
        assert_eq!(error.message(), message);
    }
}

#[tokio::test]
async fn a_required_feature_is_asked_of_the_open_engine_before_the_environment_is_handed_out() {
    let journal = Journal::default();
    let text = "[test]\nkafka.engine = 'real'\nhttp.engine = 'real'";
    let error = builder(&journal)
        .require(KafkaFeature::Groups)
        .require(HttpFeature::Wire)
        .parse(text, "onex.toml", "test")
        .await
        .expect_err("no such features");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(
        error.message(),
        "onex.toml:3:15: the engine `real` of http does not declare Wire, which the program requires\n  \
         onex.toml:2:16: the engine `real` of kafka does not declare Groups, which the program requires; name another engine"
    );
    let closed: Vec<String> = journal.take().into_iter().filter(|note| note.starts_with("close")).collect();
    assert_eq!(closed.len(), 2, "{closed:?}");

    let builder = Environment::builder()
        .with(Fake::new("real", &journal).with_groups())
        .with_variables::<String, String>([]);
    builder.require(KafkaFeature::Groups).parse(text, "onex.toml", "test").await.expect("declared");
}

#[tokio::test]
async fn an_engine_that_does_not_open_closes_the_others_and_shows_no_secret() {
    let journal = Journal::default();
    let refusal = Error::new(ErrorKind::Unauthenticated, "fake.open", "the broker refused `hunter2`")
        .not_applied()
        .with_source(std::io::Error::other("SASL said no to hunter2"));
    let error = Environment::builder()
        .with(Fake::new("real", &journal))
        .with(Fake::new("broken", &journal).refusing(refusal))
        .with_variables([("SECRET", "hunter2")])
        .clock(Arc::new(ManualClock::new()))
        .parse(
            "[test]\nhttp.engine = 'real'\nkafka = { engine = 'broken', password = 'env:SECRET' }",
            "onex.toml",
            "test",
        )
        .await
        .expect_err("it does not open");
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Unauthenticated, Effect::NotApplied));
    assert_eq!(
        error.message(),
        "onex.toml:3:20: the engine `broken` of kafka did not open: fake.open: the broker refused `env:SECRET` \
         (Unauthenticated): SASL said no to env:SECRET"
    );
    assert!(!format!("{error:?} {error:#}").contains("hunter2"));
    assert_eq!(journal.take(), ["open real for http with {}", "close http within 5s"]);
}

#[tokio::test]
async fn a_provider_that_opens_another_port_is_told() {
    let journal = Journal::default();
    let mut confused = Fake::new("real", &journal);
    confused.confused = true;
    let builder = Environment::builder().with(confused).with_variables::<String, String>([]);
    let error =
        builder.parse("[test.kafka]\nengine = 'real'", "onex.toml", "test").await.expect_err("a breaker");
    assert_eq!(error.kind(), ErrorKind::Unclassified);
    assert!(error.message().contains("opened CircuitBreaker where KafkaDriver was asked"), "{error}");
}

async fn closable(ending: Ending, journal: &Journal, clock: &ManualClock) -> Environment {
    let text = "[test]\nhttp.engine = 'odd'\nkafka.engine = 'real'\nbreaker.engine = 'odd'\nhttp_server.engine = 'real'";
    let environment = Environment::builder()
        .with(Fake::new("real", journal))
        .with(Fake::new("odd", journal).ending(ending))
        .with_variables::<String, String>([])
        .clock(Arc::new(clock.clone()))
        .parse(text, "onex.toml", "test")
        .await
        .expect("good");
    journal.take();
    environment
}

#[tokio::test]
async fn close_goes_backwards_and_closing_again_is_ok() {
    let (journal, clock) = (Journal::default(), ManualClock::new());
    let environment = closable(Ending::Well, &journal, &clock).await;
    environment.close(Duration::from_secs(9)).await.expect("all close");
    // The server first: what its handlers use is still open while it is drained.
    let backwards =
        ["http_server", "kafka", "http", "breaker"].map(|section| format!("close {section} within 9s"));
    assert_eq!(journal.take(), backwards);
    environment.close(Duration::from_secs(9)).await.expect("again");
    environment.close(Duration::MAX).await.expect("without a limit");
}

#[tokio::test]
async fn close_answers_the_first_error_and_closes_all() {
    let (journal, clock) = (Journal::default(), ManualClock::new());
    let environment = closable(Ending::Badly, &journal, &clock).await;
    let error = environment.close(Duration::from_secs(9)).await.expect_err("two engines end badly");
    assert_eq!((error.operation(), error.message()), ("fake.close", "http"));
    assert_eq!(journal.take().len(), 4);
}

#[tokio::test]
async fn close_leaves_behind_what_does_not_end_and_gives_the_rest_what_is_left() {
    let (journal, clock) = (Journal::default(), ManualClock::new());
    let environment = closable(Ending::Never, &journal, &clock).await;
    let mut closing = Box::pin(environment.close(Duration::from_secs(9)));
    for _ in 0..2 {
        let still = std::future::poll_fn(|cx| Poll::Ready(closing.as_mut().poll(cx).is_pending())).await;
        assert!(still);
        clock.advance(Duration::from_secs(10));
    }
    let error = closing.await.expect_err("two engines never end");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_eq!(error.message(), "the engine `odd` of http did not end in its time");
    assert_eq!(
        journal.take(),
        [
            "close http_server within 9s",
            "close kafka within 9s",
            "close http within 9s",
            "close breaker within 0ns"
        ]
    );
}

#[tokio::test]
async fn the_files_of_the_guide_are_good_files() {
    let guide = include_str!("../../../../docs/guide/environments.md");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("secrets")).expect("a folder");
    std::fs::write(folder.path().join("secrets/kafka-password"), "x\n").expect("written");
    let blocks: Vec<&str> =
        guide.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 3, "{}", blocks.len());
    for text in blocks {
        let path = folder.path().join("onex.toml");
        std::fs::write(&path, text).expect("written");
        let profiles = text.parse::<onex_spi::provider::Table>().expect(text);
        for profile in profiles.keys() {
            let journal = Journal::default();
            ["native", "hyper", "rdkafka"]
                .into_iter()
                .fold(Environment::builder(), |builder, name| builder.with(Fake::new(name, &journal)))
                .with(Fake::new("memory", &journal).for_development())
                .with_variables([("KAFKA_SERVER", "kafka-1:9092")])
                .load(&path, profile)
                .await
                .expect(text);
        }
    }
}
