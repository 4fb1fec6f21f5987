//! What an operator asks: is it alive, does it move messages, how many.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use onex_spi::breaker::CircuitBreaker;
use onex_spi::bridge::CommunicationBridge;
use onex_spi::http::{HttpRequest, HttpResponse, HttpService};
use onex_spi::{Error, ErrorKind, Health, Result};
use serde_json::json;

use crate::metrics;

/// Answers `/healthz` (200 while the process lives), `/readyz` (200 while every bridge moves messages, else 503 and why) and
/// `/metrics` (OpenMetrics text).
#[derive(Debug)]
pub struct Status {
    bridge: Arc<dyn CommunicationBridge>,
    breaker: Option<Arc<dyn CircuitBreaker>>,
    draining: AtomicBool,
}

impl Status {
    /// Looks at `bridge`.
    #[must_use]
    pub fn new(bridge: Arc<dyn CommunicationBridge>) -> Self {
        Self { bridge, breaker: None, draining: AtomicBool::new(false) }
    }

    /// Shows the circuits of `breaker` among the metrics.
    #[must_use]
    pub fn with_breaker(mut self, breaker: Arc<dyn CircuitBreaker>) -> Self {
        self.breaker = Some(breaker);
        self
    }

    /// Says from now on that nothing new is to be sent here.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    async fn ready(&self) -> HttpResponse {
        let mut ready = !self.draining.load(Ordering::Relaxed);
        let mut told = serde_json::Map::new();
        let bridges = self.bridge.all_bridges();
        ready &= !bridges.is_empty();
        for info in bridges {
            // A bridge that ends in this moment has nothing to say.
            let Ok(health) = self.bridge.monitor_bridge_health(info.id).await else { continue };
            let (word, why) = match health.state {
                Health::Healthy => ("healthy", None),
                Health::Degraded(why) => ("degraded", Some(why)),
                Health::Unhealthy(why) => {
                    ready = false;
                    ("unhealthy", Some(why))
                }
                _ => ("unknown", None),
            };
            let state = format!("{:?}", info.state).to_lowercase();
            let line = json!({ "state": state, "health": word, "why": why, "backlog": health.backlog });
            told.insert(info.name.to_string(), line);
        }
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        HttpResponse::json_value(status, json!({ "ready": ready, "bridges": told }))
    }

    fn metrics(&self) -> Result<HttpResponse> {
        let text = metrics::text(&self.bridge, self.breaker.as_deref()).map_err(|error| {
            Error::new(ErrorKind::Unclassified, "status.metrics", "the metrics cannot be written")
                .with_source(error)
        })?;
        let mut answer = HttpResponse::new(StatusCode::OK, text);
        answer.headers.insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
        Ok(answer)
    }
}

#[async_trait]
impl HttpService for Status {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse> {
        let known = ["/healthz", "/readyz", "/metrics"];
        let path = request.url.path();
        if known.contains(&path) && !matches!(request.method, Method::GET | Method::HEAD) {
            let mut answer = HttpResponse::new(StatusCode::METHOD_NOT_ALLOWED, "");
            answer.headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Ok(answer);
        }
        match path {
            "/healthz" => Ok(HttpResponse::json_value(StatusCode::OK, json!({ "alive": true }))),
            "/readyz" => Ok(self.ready().await),
            "/metrics" => self.metrics(),
            _ => Ok(HttpResponse::new(StatusCode::NOT_FOUND, "try /healthz, /readyz or /metrics\n")),
        }
    }
}
