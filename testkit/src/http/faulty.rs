//! Seeded faults over an HTTP transport: exchanges that are never sent, late, or whose answer is lost.
//!
//! A body that was handed out is left alone; [`FaultProxy`](crate::net::FaultProxy) cuts inside bodies. Closing is never
//! disturbed.

use std::time::Duration;

use async_trait::async_trait;
use onex_spi::http::{
    HttpCapabilities, HttpFault, HttpPhase, HttpReason, HttpRequest, HttpResponse, HttpService,
    HttpTransport, PoolStats,
};
use onex_spi::{Health, Lifecycle, Result};

use crate::faulty::{Fate, Faulty};

/// # Examples
/// ```
/// use std::sync::Arc;
/// use onex_spi::http::HttpTransport;
/// use onex_spi::{Clock, TokioClock};
/// use onex_testkit::faulty::{FaultPlan, Faulty};
///
/// fn shaken(transport: Arc<dyn HttpTransport>, clock: Arc<dyn Clock>) -> Arc<dyn HttpTransport> {
///     Arc::new(Faulty::new(transport, FaultPlan::new(7).with_refuse(0.1).with_lose_answer(0.1), clock))
/// }
/// ```
#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl HttpService for Faulty<dyn HttpTransport> {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse> {
        const OPERATION: &str = "http.exchange";
        let fate = self.faults.draw();
        self.faults.delay().await;
        if fate == Fate::Refuse {
            return Err(self.faults.refused(OPERATION).with_detail(HttpReason::Connect));
        }
        let response = self.inner.exchange(request).await?;
        if fate == Fate::LoseAnswer {
            return Err(self.faults.lost(OPERATION).with_detail(HttpFault::timeout(HttpPhase::Head)));
        }
        Ok(response)
    }
}

#[deny(clippy::missing_trait_methods)]
impl HttpTransport for Faulty<dyn HttpTransport> {
    fn capabilities(&self) -> &HttpCapabilities {
        self.inner.capabilities()
    }

    fn pool_stats(&self) -> PoolStats {
        self.inner.pool_stats()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Lifecycle for Faulty<dyn HttpTransport> {
    async fn health(&self) -> Health {
        self.inner.health().await
    }

    async fn close(&self, within: Duration) -> Result<()> {
        self.inner.close(within).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use ::http::{Method, StatusCode};
    use onex_spi::http::HttpUrl;
    use onex_spi::{Effect, ErrorKind};

    use super::*;
    use crate::clock::ManualClock;
    use crate::faulty::{FaultCounts, FaultPlan};

    /// Answers everything and counts it.
    #[derive(Debug, Default)]
    struct Counting(AtomicU64, HttpCapabilities);

    #[async_trait]
    impl HttpService for Counting {
        async fn exchange(&self, _: HttpRequest) -> Result<HttpResponse> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(HttpResponse::new(StatusCode::OK, "ok"))
        }
    }

    impl HttpTransport for Counting {
        fn capabilities(&self) -> &HttpCapabilities {
            &self.1
        }

        fn pool_stats(&self) -> PoolStats {
            PoolStats::default()
        }
    }

    #[async_trait]
    impl Lifecycle for Counting {
        async fn health(&self) -> Health {
            Health::Healthy
        }

        async fn close(&self, _: Duration) -> Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_refused_exchange_never_arrives_and_a_lost_one_does() {
        let good = Arc::new(Counting::default());
        let plan = FaultPlan::new(3).with_refuse(0.3).with_lose_answer(0.3);
        let faulty: Faulty<dyn HttpTransport> = Faulty::new(good.clone(), plan, Arc::new(ManualClock::new()));
        let url = HttpUrl::try_from("http://orders.internal/").expect("a URL");
        let (mut answered, mut refused, mut lost) = (0, 0, 0);
        for _ in 0..200 {
            match faulty.exchange(HttpRequest::new(Method::GET, url.clone())).await {
                Ok(_) => answered += 1,
                Err(error) => match (error.kind(), error.effect(), error.http().map(|fault| fault.reason)) {
                    (ErrorKind::Unavailable, Effect::NotApplied, Some(HttpReason::Connect)) => refused += 1,
                    (ErrorKind::TimedOut, Effect::Unknown, Some(HttpReason::Timeout)) => lost += 1,
                    told => panic!("{told:?}"),
                },
            }
        }
        assert!(answered > 0 && refused > 0 && lost > 0, "{answered} {refused} {lost}");
        assert_eq!(good.0.load(Ordering::Relaxed), answered + lost);
        let mut due = FaultCounts::default();
        (due.refused, due.lost) = (refused, lost);
        assert_eq!(faulty.counts(), due);
    }
}
