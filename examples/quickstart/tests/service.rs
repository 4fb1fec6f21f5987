//! The service alone, on mocks: each side fails as it is told to.

use std::num::NonZeroU64;
use std::sync::Arc;

use bytes::Bytes;
use example_quickstart::service::OrderService;
use http::{Method, StatusCode};
use onex_spi::http::{HttpBody, HttpRequest, HttpResponse, HttpService};
use onex_spi::kafka::{ProduceReceipt, ProducerId};
use onex_spi::{Error, ErrorKind, TokioClock};
use onex_testkit::breaker::mock::MockCircuitBreaker;
use onex_testkit::http::mock::MockHttpClient;
use onex_testkit::kafka::mock::MockKafkaClient;
use serde_json::{Value, json};

const ORDER: &str =
    r#"{"id":7,"customer":"c-1","region":"eu","items":[{"sku":"lamp","quantity":2,"cents":350}]}"#;

/// A breaker with every circuit closed, asked for the circuit of `eu` at most.
fn breaker() -> MockCircuitBreaker {
    let real = onex_breaker_native::open(onex_breaker_native::Config::default(), Arc::new(TokioClock::new()))
        .expect("a breaker");
    let mut breaker = MockCircuitBreaker::new();
    breaker.expect_circuit().withf(|name| name == "directory-eu").returning(move |name| real.circuit(name));
    breaker
}

/// A directory that knows `c-1` of `eu`.
fn directory() -> MockHttpClient {
    let mut http = MockHttpClient::new();
    http.expect_request()
        .withf(|request| request.method == Method::GET && request.url.path() == "/eu/customers/c-1")
        .returning(|_| Ok(HttpResponse::json_value(StatusCode::OK, json!({ "tier": "gold" }))));
    http
}

fn kafka() -> MockKafkaClient {
    let mut kafka = MockKafkaClient::new();
    kafka.expect_create_producer().once().returning(|_| Ok(ProducerId::new(NonZeroU64::MIN)));
    kafka
}

/// Posts `body` and answers the status and the reason.
async fn post(
    http: MockHttpClient,
    kafka: MockKafkaClient,
    breaker: MockCircuitBreaker,
    path: &str,
    body: impl Into<HttpBody>,
) -> (StatusCode, String) {
    let upstream = "http://directory".to_owned();
    let service = OrderService::open(Arc::new(http), Arc::new(kafka), Arc::new(breaker), "orders", upstream)
        .await
        .expect("a producer");
    let url = format!("http://service{path}").as_str().try_into().expect("a URL");
    let mut request = HttpRequest::new(Method::POST, url);
    request.body = body.into();
    let answer = service.exchange(request).await.expect("an answer, whatever the order");
    let status = answer.status;
    let body = answer.into_body().bytes(1 << 10).await.expect("a body");
    if body.is_empty() {
        return (status, String::new());
    }
    let json: Value = serde_json::from_slice(&body).expect("JSON");
    (status, json["error"].as_str().expect("a reason").to_owned())
}

#[tokio::test]
async fn an_order_is_enriched_and_stored_under_its_id() {
    // ONEX-EX-11, CARD-12: the same service on mocks.
    let mut kafka = kafka();
    kafka
        .expect_produce_message()
        .withf(|_, record| {
            let value: Value =
                serde_json::from_slice(record.value.as_deref().unwrap_or_default()).unwrap_or_default();
            record.topic.as_ref() == "orders"
                && record.key.as_deref() == Some(b"7")
                && (&value["id"], &value["tier"], &value["total_cents"])
                    == (&json!(7), &json!("gold"), &json!(700))
        })
        .once()
        .returning(|_, record| Ok(ProduceReceipt::new(record.topic, 0, Some(0), None)));
    let answer = post(directory(), kafka, breaker(), "/orders", ORDER).await;
    assert_eq!(answer, (StatusCode::ACCEPTED, String::new()));
}

#[tokio::test]
async fn a_malformed_order_is_400_names_the_field_and_burdens_no_other() {
    // No expectation on directory, breaker or produce: a call of one of them would panic.
    let line = ORDER.replace("\"quantity\":2", "\"quantity\":-2");
    let answer = post(MockHttpClient::new(), kafka(), MockCircuitBreaker::new(), "/orders", line).await;
    assert_eq!(answer.0, StatusCode::BAD_REQUEST);
    assert_eq!(
        answer.1,
        "not an order: items[0].quantity: invalid value: integer `-2`, expected u32 at line 1 column 75"
    );
}

#[tokio::test]
async fn an_order_over_the_limit_is_413_and_one_at_the_limit_is_read() {
    let limit = 64 << 10;
    for (bytes, status, reason) in [
        (limit, StatusCode::BAD_REQUEST, "not an order: it is one JSON object"),
        (limit + 1, StatusCode::PAYLOAD_TOO_LARGE, "an order has at most 65536 bytes"),
    ] {
        let body = Bytes::from(vec![b' '; bytes]);
        let answer = post(MockHttpClient::new(), kafka(), MockCircuitBreaker::new(), "/orders", body).await;
        assert_eq!(answer, (status, reason.to_owned()), "{bytes} bytes");
    }
}

#[tokio::test]
async fn a_directory_that_fails_is_502() {
    let mut http = MockHttpClient::new();
    http.expect_request().once().returning(|_| Ok(HttpResponse::new(StatusCode::INTERNAL_SERVER_ERROR, "")));
    let answer = post(http, kafka(), breaker(), "/orders", ORDER).await;
    let reason = "orders.customer: the directory says 500 Internal Server Error (Unavailable)";
    assert_eq!(answer, (StatusCode::BAD_GATEWAY, reason.to_owned()));
}

#[tokio::test]
async fn a_circuit_that_is_open_is_502_and_the_directory_is_not_asked() {
    let real = onex_breaker_native::open(onex_breaker_native::Config::default(), Arc::new(TokioClock::new()))
        .expect("a breaker");
    let circuit = real.circuit("directory-eu").expect("a circuit");
    real.force_circuit_open("directory-eu").expect("forced");
    let mut breaker = MockCircuitBreaker::new();
    breaker.expect_circuit().once().returning(move |_| Ok(circuit.clone()));
    let answer = post(MockHttpClient::new(), kafka(), breaker, "/orders", ORDER).await;
    assert_eq!(answer.0, StatusCode::BAD_GATEWAY);
    assert!(answer.1.contains("(Rejected)"), "{}", answer.1);
}

#[tokio::test]
async fn a_circuit_that_cannot_be_had_is_502() {
    let mut breaker = MockCircuitBreaker::new();
    breaker.expect_circuit().once().returning(|_| {
        Err(Error::new(ErrorKind::ResourceExhausted, "breaker.circuit", "no room").not_applied())
    });
    let answer = post(MockHttpClient::new(), kafka(), breaker, "/orders", ORDER).await;
    assert_eq!(answer, (StatusCode::BAD_GATEWAY, "breaker.circuit: no room (ResourceExhausted)".to_owned()));
}

#[tokio::test]
async fn a_kafka_that_refuses_is_503() {
    let mut kafka = kafka();
    kafka
        .expect_produce_message()
        .once()
        .returning(|_, _| Err(Error::new(ErrorKind::TimedOut, "kafka.produce", "no answer within 30 s")));
    let answer = post(directory(), kafka, breaker(), "/orders", ORDER).await;
    assert_eq!(
        answer,
        (StatusCode::SERVICE_UNAVAILABLE, "kafka.produce: no answer within 30 s (TimedOut)".to_owned())
    );
}

#[tokio::test]
async fn another_path_is_404() {
    let answer = post(MockHttpClient::new(), kafka(), MockCircuitBreaker::new(), "/", ORDER).await;
    assert_eq!(answer, (StatusCode::NOT_FOUND, "there is nothing but POST /orders".to_owned()));
}
