//! A mock of the callers' port, for tests of code that holds an `Arc<dyn HttpClient>`.
#![allow(missing_docs, reason = "mockall writes the methods `expect_*`, one for each method of the port")]

use std::time::Duration;

use async_trait::async_trait;
use onex_spi::http::{
    BreakerBinding, HttpCapabilities, HttpClientMetrics, HttpRequest, HttpResponse, RetryPolicy,
};
use onex_spi::{Health, Result};

mockall::mock! {
    /// A mock of [`HttpClient`](onex_spi::http::HttpClient): a call without an expectation panics.
    ///
    /// # Examples
    /// ```
    /// use http::StatusCode;
    /// use onex_spi::http::{HttpClientExt, HttpResponse};
    /// use onex_testkit::http::mock::MockHttpClient;
    /// use serde_json::{Value, json};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> onex_spi::Result<()> {
    /// let mut http = MockHttpClient::new();
    /// http.expect_request()
    ///     .withf(|request| request.url.path() == "/orders/7")
    ///     .once()
    ///     .returning(|_| Ok(HttpResponse::json_value(StatusCode::OK, json!({ "id": 7 }))));
    /// let order: Value = http.get("http://orders.internal/orders/7").send_json().await?;
    /// assert_eq!(order["id"], 7);
    /// # Ok(())
    /// # }
    /// ```
    #[derive(Debug)]
    pub HttpClient {}

    #[async_trait]
    impl onex_spi::Lifecycle for HttpClient {
        async fn health(&self) -> Health;
        async fn close(&self, within: Duration) -> Result<()>;
    }

    #[async_trait]
    impl onex_spi::http::HttpClient for HttpClient {
        fn capabilities(&self) -> &HttpCapabilities;
        async fn request(&self, request: HttpRequest) -> Result<HttpResponse>;
        fn client_metrics(&self) -> HttpClientMetrics;
        fn configure_retry_policy(&self, policy: RetryPolicy) -> Result<()>;
        fn configure_circuit_breaker(&self, binding: Option<BreakerBinding>) -> Result<()>;
    }
}
