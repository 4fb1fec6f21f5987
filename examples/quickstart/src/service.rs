//! The service: an `HttpService` over a client, a breaker and a producer.

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

    async fn take(&self, order: Order) -> Result<()> {
        let key = order.id.to_string();
        let customer = self.customer(&order).await?;
        let value = serde_json::to_vec(&order.enriched(customer)).map_err(|error| {
            Error::invalid("orders.take", "the order cannot be written").with_source(error)
        })?;
        let record = ProducerRecord::new(self.topic.clone()).with_key(key).with_value(value);
        self.kafka.produce_message(self.producer, record).await.map(drop)
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
            return Ok(HttpResponse::json_value(StatusCode::NOT_FOUND, json!({ "error": "POST /orders" })));
        }
        let bytes = request.into_parts().body.bytes(ORDER_LIMIT).await?;
        let answer = match Order::parse(&bytes) {
            Err(reason) => HttpResponse::json_value(StatusCode::BAD_REQUEST, json!({ "error": reason })),
            Ok(order) => match self.take(order).await {
                Ok(()) => HttpResponse::new(StatusCode::ACCEPTED, ""),
                Err(error) => {
                    HttpResponse::json_value(StatusCode::BAD_GATEWAY, json!({ "error": error.to_string() }))
                }
            },
        };
        Ok(answer)
    }
}
