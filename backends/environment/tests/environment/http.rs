//! The HTTP client that the file describes: its policy, its circuit, what stands around its requests.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use onex_environment::{Environment, EnvironmentBuilder};
use onex_memory::MemoryProvider;
use onex_memory::http::{MemoryHttp, Router};
use onex_spi::breaker::CircuitState;
use onex_spi::http::{HttpClientExt, HttpInterceptor, HttpNext, HttpRequest, HttpResponse};
use onex_spi::{ErrorKind, Result, TokioClock};

use crate::faults::faults;
use crate::support::{Fake, Journal};

fn builder() -> EnvironmentBuilder {
    Environment::builder()
        .with(onex_memory::provider())
        .with(onex_breaker_native::provider())
        .with_variables::<String, String>([])
}

async fn open(text: &str, profile: &str) -> Environment {
    builder().parse(text, "onex.toml", profile).await.expect(text)
}

/// Asks a host that nobody serves, once; answers the kind of the error.
async fn ask(environment: &Environment, host: &str) -> ErrorKind {
    let client = environment.http_client().expect("a client");
    client.get(format!("http://{host}/")).send().await.expect_err("nobody serves it").kind()
}

fn states(environment: &Environment) -> Vec<(String, CircuitState)> {
    let states = environment.circuit_breaker().expect("a breaker").all_circuit_states();
    states.into_iter().map(|(name, status)| (name.to_string(), status.state)).collect()
}

const BOTH: &str = "[default]\nhttp.engine = 'memory'\nbreaker.engine = 'native'\n\
                    [default.http.client]\nretry.max_retries = 0\n";

#[tokio::test]
async fn the_file_says_which_circuit_a_request_asks() {
    let text = format!(
        "{BOTH}\
         breaker = {{ circuit = {{ failure_threshold = 1 }} }}\n\
         [hosts]\n\
         [plain.http.client]\nbreaker = 'per-host'\n\
         [named.http.client]\nbreaker.name = 'payments'\n\
         [none.http.client]\nbreaker = 'off'\n"
    );
    let hosts = open(&text, "hosts").await;
    assert_eq!(ask(&hosts, "a.test").await, ErrorKind::Unavailable);
    assert_eq!(ask(&hosts, "a.test").await, ErrorKind::Rejected);
    assert_eq!(ask(&hosts, "b.test").await, ErrorKind::Unavailable);
    let open_hosts = ["a.test:80", "b.test:80"].map(|host| (host.to_owned(), CircuitState::Open));
    assert_eq!(states(&hosts), open_hosts);

    // A text in the place of a table takes all of it back.
    let plain = open(&text, "plain").await;
    assert_eq!(ask(&plain, "a.test").await, ErrorKind::Unavailable);
    assert_eq!(ask(&plain, "a.test").await, ErrorKind::Unavailable);
    assert_eq!(states(&plain), [("a.test:80".to_owned(), CircuitState::Closed)]);

    let named = open(&text, "named").await;
    assert_eq!(ask(&named, "a.test").await, ErrorKind::Unavailable);
    assert_eq!(ask(&named, "b.test").await, ErrorKind::Rejected);
    assert_eq!(states(&named), [("payments".to_owned(), CircuitState::Open)]);

    let none = open(&text, "none").await;
    assert_eq!(ask(&none, "a.test").await, ErrorKind::Unavailable);
    assert_eq!(states(&none), []);
}

#[tokio::test]
async fn a_variable_binds_the_circuit_too() {
    let bound = builder().with_variables([
        ("ONEX__HTTP__CLIENT__BREAKER__NAME", "42"),
        ("ONEX__HTTP__CLIENT__BREAKER__CIRCUIT__FAILURE_THRESHOLD", "1"),
    ]);
    let bound = bound.parse(&format!("{BOTH}[test]"), "onex.toml", "test").await.expect("good");
    ask(&bound, "a.test").await;
    assert_eq!(states(&bound), [("42".to_owned(), CircuitState::Open)]);

    let bound = builder().with_variables([("ONEX__HTTP__CLIENT__BREAKER", "per-host")]);
    let bound = bound.parse(&format!("{BOTH}[test]"), "onex.toml", "test").await.expect("good");
    ask(&bound, "a.test").await;
    assert_eq!(states(&bound), [("a.test:80".to_owned(), CircuitState::Closed)]);
}

#[tokio::test]
async fn the_policy_stays_where_a_profile_names_another_engine() {
    let journal = Journal::default();
    let text = format!("{BOTH}breaker = 'per-host'\n[live.http]\nengine = 'real'\nport = 1");
    let environment =
        builder().with(Fake::new("real", &journal)).parse(&text, "onex.toml", "live").await.expect("good");
    assert_eq!(ask(&environment, "a.test").await, ErrorKind::Unsupported);
    assert_eq!(states(&environment), [("a.test:80".to_owned(), CircuitState::Closed)]);
    assert_eq!(environment.http_client().expect("a client").client_metrics().requests, 1);
}

#[tokio::test]
async fn every_fault_of_the_policy_is_told_at_its_key() {
    let section = "[test.breaker]\nengine = 'native'\n[test.http]\nengine = 'memory'\n[test.http.client]\n";
    let cases = [
        (
            "breaker = 'per-hots'",
            "6:11: http.client.breaker: must be \"per-host\", \"off\" or { name = \"..\" }",
        ),
        ("breaker = 7", "6:11: http.client.breaker: must be \"per-host\", \"off\" or { name = \"..\" }"),
        (
            "breaker = { nmae = 'x' }",
            "6:13: http.client.breaker.nmae: unknown field `nmae`, expected `name` or `circuit`",
        ),
        (
            "breaker.circuit.failure_threshold = 0",
            "6:37: http.client.breaker.circuit.failure_threshold: failure_threshold = 0 is not in 1..=1000000",
        ),
        (
            "braeker = 'x'",
            "6:1: http.client.braeker: unknown field `braeker`, expected one of `timeouts`, `retry`, `circuit`, `user_agent`",
        ),
        (
            "retry.max_retries = 1000",
            "6:21: http.client.retry.max_retries: max_retries = 1000 is not in 0..=100",
        ),
        (
            "circuit.failures = [302]",
            "6:20: http.client.circuit.failures: circuit.failures holds 302; only 400..=599 can be failures",
        ),
        (
            "timeouts.total = '0s'",
            "6:18: http.client.timeouts.total: timeouts.total = 0s ends every call; write \"off\" for none",
        ),
        (
            "timeouts = { totl = '1s' }",
            "6:14: http.client.timeouts.totl: unknown field `totl`, expected one of `attempt`, `connect`, `head`, `idle_read`, `total`",
        ),
        (
            "user_agent = \"a\\nb\"",
            "6:14: http.client.user_agent: user_agent = \"a\\nb\" holds characters that no header may hold",
        ),
        (
            "user_agent = 'env:AGENT'",
            "6:14: http.client.user_agent: `env:AGENT`: the variable is not set; set it",
        ),
    ];
    let journal = Journal::default();
    for (line, expected) in cases {
        let told = faults(builder(), &format!("{section}{line}"), "test", &journal).await;
        assert_eq!(told, [format!("onex.toml:{expected}")]);
    }
    let alone = "[test.http]\nengine = 'memory'\nclient.breaker = 'per-host'";
    assert_eq!(
        faults(builder(), alone, "test", &journal).await,
        [
            "onex.toml:3:8: http.client.breaker: asks a breaker, and there is none; add [test.breaker] with an engine"
        ]
    );
}

#[derive(Debug)]
struct Stamp(&'static str);

#[async_trait]
impl HttpInterceptor for Stamp {
    async fn intercept(&self, mut request: HttpRequest, next: HttpNext<'_>) -> Result<HttpResponse> {
        request.headers.append("x-stamp", http::HeaderValue::from_static(self.0));
        next.run(request).await
    }
}

#[tokio::test]
async fn interceptors_of_the_program_stand_around_the_requests() {
    let network = MemoryHttp::new(Arc::new(TokioClock::new()));
    network.otherwise(Arc::new(Router::new()));
    let environment = Environment::builder()
        .with(MemoryProvider::with_http(network.clone()))
        .with_variables::<String, String>([])
        .around_http_call(Arc::new(Stamp("call")))
        .around_http_attempt(Arc::new(Stamp("attempt")))
        .parse("[test.http]\nengine = 'memory'\nclient.retry.max_retries = 0", "onex.toml", "test")
        .await
        .expect("good");
    ask(&environment, "a.test").await;
    let stamps: Vec<_> = network
        .requests()
        .iter()
        .flat_map(|request| request.headers.get_all("x-stamp").iter().cloned().collect::<Vec<_>>())
        .collect();
    assert_eq!(stamps, ["call", "attempt"]);
}

#[tokio::test]
async fn after_close_the_client_and_its_engine_answer_closed() {
    let environment = open(&format!("{BOTH}[test]"), "test").await;
    environment.close(Duration::from_secs(1)).await.expect("closes");
    assert_eq!(ask(&environment, "a.test").await, ErrorKind::Closed);
    let told = environment.circuit_breaker().expect("a handle").circuit("x").expect_err("closed");
    assert_eq!(told.kind(), ErrorKind::Closed);
    environment.close(Duration::from_secs(1)).await.expect("closes again");
}
