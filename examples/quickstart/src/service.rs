//! The service: an `HttpService` over a client, a breaker and a producer.
//!
//! Every order gets one answer: 202 accepted, 400 malformed, 413 too large, 502 for its directory, 503 for Kafka.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{Method, StatusCode};
use onex_spi::breaker::{CircuitBreaker, CircuitExt};
use onex_spi::http::{HttpClient, HttpClientExt, HttpRequest, HttpResponse, HttpService};
use onex_spi::kafka::{KafkaClient, ProducerConfig, ProducerId, ProducerRecord};
use onex_spi::{Error, ErrorKind, Result};
use serde_json::json;

use crate::order::{Customer, Order};

/// The largest order that is read.
const ORDER_LIMIT: usize = 64 << 10;
/// How long the upstream may take.
const UPSTREAM_LIMIT: Duration = Duration::from_secs(2);

/// Takes orders over HTTP, enriches them and hands them to Kafka.
#[derive(Debug)]
pub struct OrderService {
    http: Arc<dyn HttpClient>,
    kafka: Arc<dyn KafkaClient>,
    breaker: Arc<dyn CircuitBreaker>,
    producer: ProducerId,
    topic: Arc<str>,
    upstream: String,
}

impl OrderService {
    /// Opens the service's producer.
    ///
    /// # Errors
    /// Those of [`KafkaClient::create_producer`].
    pub async fn open(
        http: Arc<dyn HttpClient>,
        kafka: Arc<dyn KafkaClient>,
        breaker: Arc<dyn CircuitBreaker>,
        topic: &str,
        upstream: String,
    ) -> Result<Arc<Self>> {
        let producer = kafka.create_producer(ProducerConfig::new()).await?;
        Ok(Arc::new(Self { http, kafka, breaker, producer, topic: topic.into(), upstream }))
    }

    async fn take(&self, order: Order) -> Result<(), Refusal> {
        let key = order.id.to_string();
        let customer = self.customer(&order).await.map_err(Refusal::Upstream)?;
        let value = serde_json::to_vec(&order.enriched(customer)).map_err(|error| {
            Refusal::Kafka(Error::invalid("orders.take", "the order cannot be written").with_source(error))
        })?;
        let record = ProducerRecord::new(self.topic.clone()).with_key(key).with_value(value);
        self.kafka.produce_message(self.producer, record).await.map(drop).map_err(Refusal::Kafka)
    }

    /// One circuit per region: a directory that is down fails fast and burdens no other.
    async fn customer(&self, order: &Order) -> Result<Customer> {
        let circuit = self.breaker.circuit(&format!("directory-{}", order.region))?;
        let url = format!("{}/{}/customers/{}", self.upstream, order.region, order.customer);
        let ask = || async {
            let response = self.http.get(url.as_str()).send().await?;
            match response.status {
                StatusCode::OK => response.json().await,
                status => Err(Error::new(
                    ErrorKind::Unavailable,
                    "orders.customer",
                    format!("the directory says {status}"),
                )),
            }
        };
        Ok(circuit.call(Some(UPSTREAM_LIMIT), ask).await?)
    }
}

#[async_trait]
impl HttpService for OrderService {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse> {
        if (&request.method, request.url.path()) != (&Method::POST, "/orders") {
            return Ok(refusal(StatusCode::NOT_FOUND, "there is nothing but POST /orders".to_owned()));
        }
        let bytes = match request.into_parts().body.bytes(ORDER_LIMIT).await {
            Err(error) if error.kind() == ErrorKind::TooLarge => {
                let reason = format!("an order has at most {ORDER_LIMIT} bytes");
                return Ok(refusal(StatusCode::PAYLOAD_TOO_LARGE, reason));
            }
            bytes => bytes?,
        };
        Ok(match Order::parse(&bytes) {
            Err(reason) => refusal(StatusCode::BAD_REQUEST, reason),
            Ok(order) => match self.take(order).await {
                Ok(()) => HttpResponse::new(StatusCode::ACCEPTED, ""),
                Err(Refusal::Upstream(error)) => refusal(StatusCode::BAD_GATEWAY, error.to_string()),
                Err(Refusal::Kafka(error)) => refusal(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
            },
        })
    }
}

/// Which side did not take an order.
enum Refusal {
    Upstream(Error),
    Kafka(Error),
}

fn refusal(status: StatusCode, reason: String) -> HttpResponse {
    HttpResponse::json_value(status, json!({ "error": reason }))
}
