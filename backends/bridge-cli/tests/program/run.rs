//! A program that runs: messages, status, signals.

use onex_spi::http::HttpClientExt;

use crate::support::{File, Running, client, get, post};

const HOOKS: &str = r#"[default]
http_server.engine = "hyper"
kafka = { engine = "memory", topics = [{ name = "logins" }, { name = "events" }, { name = "dead" }] }
[bridges.hooks]
source = { protocol = "http", listen = "127.0.0.1:0", path = "/hooks" }
target = { protocol = "kafka" }
rules = [{ condition = "payload.event == 'user_login'", to = "logins" }]
default_route = "events"
dead_letter = { to = "dead" }
"#;

// ONEX-EX-07, ONEX-BR-06, ONEX-BR-14, ONEX-BR-15, ONEX-BR-20
#[tokio::test]
async fn messages_are_moved_counted_and_told() {
    let running = Running::start(File::new(HOOKS), &[]);
    let (hooks, status) = (running.told("listens at "), running.told("status at "));
    let client = client().await;
    let (code, body) = post(&client, &hooks, r#"{"event":"user_login"}"#).await;
    assert!(code == 200 && body.contains(r#""route":"logins""#), "{code} {body}");
    assert!(post(&client, &hooks, r#"{"event":"other"}"#).await.1.contains(r#""route":"events""#));
    let (code, body) = post(&client, &hooks, r#"{"event":"#).await;
    assert!(code == 202 && body.contains("decode_error"), "{code} {body}");

    assert_eq!(get(&client, &format!("{status}/healthz")).await.0, 200);
    let (code, _, ready) = get(&client, &format!("{status}/readyz")).await;
    assert!(code == 200 && ready.contains(r#""hooks""#) && ready.contains(r#""ready":true"#), "{ready}");
    let (code, kind, text) = get(&client, &format!("{status}/metrics")).await;
    assert_eq!((code, kind.as_str()), (200, "application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(text.ends_with("# EOF\n"), "{text}");
    for line in [
        "# TYPE onex_bridge_received counter",
        r#"onex_bridge_received_total{bridge="hooks"} 3"#,
        r#"onex_bridge_settled_total{bridge="hooks",end="delivered"} 2"#,
        r#"onex_bridge_settled_total{bridge="hooks",end="dead_lettered"} 1"#,
        r#"onex_bridge_delivered_total{bridge="hooks",route="logins"} 1"#,
        r#"onex_bridge_dead_letters_total{bridge="hooks",reason="decode_error"} 1"#,
        r#"onex_bridge_in_flight{bridge="hooks"} 0"#,
        r#"onex_bridge_up{bridge="hooks"} 1"#,
    ] {
        assert!(text.lines().any(|known| known == line), "{line}\n{text}");
    }
    assert_eq!(get(&client, &format!("{status}/other")).await.0, 404);
    assert_eq!(post(&client, &format!("{status}/metrics"), "").await.0, 405);

    running.signal("TERM");
    let (ended, errors) = running.end();
    assert_eq!(ended.code(), Some(0), "{errors}");
    let lines: Vec<serde_json::Value> =
        errors.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect();
    let last = lines.iter().rfind(|line| line["message"] == "so far").expect("the last counters");
    assert_eq!(
        (&last["received"], &last["delivered"], &last["in_flight"]),
        (&3.into(), &2.into(), &0.into())
    );
}

/// A target that nobody serves, behind a circuit that two failures open.
const TO_NOBODY: &str = r#"[default]
http_server.engine = "hyper"
http.engine = "hyper"
http.client.retry.max_retries = 0
breaker = { engine = "native", defaults = { failure_threshold = 2, open_time = "1h" } }
[bridges.a]
source = { protocol = "http", listen = "127.0.0.1:0" }
target = { protocol = "http", url = "http://127.0.0.1:1", probe = false, circuit = "orders" }
default_route = "/x"
retry = { max_attempts = 1 }
"#;

// ONEX-CB-04, ONEX-CB-06
#[tokio::test]
async fn circuits_before_targets_stand_among_the_metrics() {
    let running = Running::start(File::new(TO_NOBODY), &[]);
    let (hooks, status) = (running.told("listens at "), running.told("status at "));
    let client = client().await;
    for _ in 0..3 {
        let (code, body) = post(&client, &hooks, "{}").await;
        assert!(code >= 500, "{code} {body}");
    }
    let (_, _, text) = get(&client, &format!("{status}/metrics")).await;
    for line in [
        "# TYPE onex_circuit_ended counter",
        r#"onex_circuit_admitted_total{circuit="orders"} 2"#,
        r#"onex_circuit_ended_total{circuit="orders",outcome="failure"} 2"#,
        r#"onex_circuit_ended_total{circuit="orders",outcome="success"} 0"#,
        r#"onex_circuit_rejected_total{circuit="orders"} 1"#,
        r#"onex_circuit_transitions_total{circuit="orders"} 1"#,
        r#"onex_circuit_state{circuit="orders",state="open"} 1"#,
        r#"onex_circuit_state{circuit="orders",state="closed"} 0"#,
        r#"onex_circuit_forced{circuit="orders"} 0"#,
    ] {
        assert!(text.lines().any(|known| known == line), "{line}\n{text}");
    }
    running.signal("TERM");
    assert_eq!(running.end().0.code(), Some(0));
}

/// A target that never answers.
fn silent() -> (std::net::TcpListener, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    (listener, url)
}

fn to_silence(url: &str) -> String {
    format!(
        "[default]\nhttp_server.engine = 'hyper'\nhttp.engine = 'hyper'\n[bridges.a]\n\
         source = {{ protocol = 'http', listen = '127.0.0.1:0' }}\n\
         target = {{ protocol = 'http', url = '{url}', probe = false }}\ndefault_route = '/x'\n"
    )
}

// bridge.md 16
#[tokio::test]
async fn a_drain_that_takes_too_long_is_told_and_so_is_the_caller() {
    let (_silent, url) = silent();
    let running = Running::start(File::new(&to_silence(&url)), &["--drain", "1s"]);
    let (hooks, status) = (running.told("listens at "), running.told("status at "));
    let client = client().await;
    let calling = tokio::spawn({
        let client = client.clone();
        async move { post(&client, &hooks, "{}").await }
    });
    until_in_flight(&client, &status).await;
    running.signal("INT");
    let (ended, errors) = tokio::task::spawn_blocking(|| running.end()).await.expect("no panic");
    assert_eq!(ended.code(), Some(1), "{errors}");
    assert_eq!(calling.await.expect("no panic").0, 503);
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let (_silent, url) = silent();
    let running = Running::start(File::new(&to_silence(&url)), &["--drain", "10m"]);
    let (hooks, status) = (running.told("listens at "), running.told("status at "));
    let client = client().await;
    let calling = tokio::spawn({
        let client = client.clone();
        async move { client.post(hooks.as_str()).body("{}").send().await }
    });
    until_in_flight(&client, &status).await;
    running.signal("TERM");
    loop {
        // Draining is told before it is over.
        let (code, _, body) = get(&client, &format!("{status}/readyz")).await;
        if code == 503 {
            assert!(body.contains(r#""ready":false"#), "{body}");
            break;
        }
    }
    running.signal("TERM");
    let (ended, errors) = tokio::task::spawn_blocking(|| running.end()).await.expect("no panic");
    assert!(ended.code() == Some(143) && errors.contains("stopped at once"), "{ended} {errors}");
    assert!(calling.await.expect("no panic").is_err(), "the connection is gone");
}

async fn until_in_flight(client: &std::sync::Arc<dyn onex_spi::http::HttpClient>, status: &str) {
    while !get(client, &format!("{status}/metrics"))
        .await
        .2
        .contains(r#"onex_bridge_in_flight{bridge="a"} 1"#)
    {}
}
