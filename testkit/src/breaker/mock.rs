//! A mock of the breaker for tests of code that calls one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::breaker::{
    BreakerCapabilities, Circuit, CircuitBreaker, CircuitBreakerConfig, CircuitListener, CircuitMetrics,
    CircuitSnapshot, CircuitStatus,
};
use onex_spi::{Health, Lifecycle, Result};

mockall::mock! {
    /// A [`CircuitBreaker`] that answers as a test says and fails where it is called otherwise.
    ///
    /// For a breaker that decides, take the [`ReferenceBreaker`](super::reference::ReferenceBreaker) and a
    /// [`ManualClock`](crate::clock::ManualClock); for a circuit that is down, force one of its circuits open.
    ///
    /// # Examples
    /// ```
    /// use onex_spi::breaker::CircuitBreaker;
    /// use onex_spi::{Error, ErrorKind};
    /// use onex_testkit::breaker::mock::MockCircuitBreaker;
    ///
    /// let mut breaker = MockCircuitBreaker::new();
    /// breaker.expect_circuit().times(1).returning(|_| {
    ///     Err(Error::new(ErrorKind::ResourceExhausted, "breaker.circuit", "no room").not_applied())
    /// });
    /// let refused = breaker.circuit("payments").expect_err("as told");
    /// assert_eq!(refused.kind(), ErrorKind::ResourceExhausted);
    /// ```
    pub CircuitBreaker {}

    #[async_trait]
    impl Lifecycle for CircuitBreaker {
        async fn health(&self) -> Health;
        async fn close(&self, within: Duration) -> Result<()>;
    }

    impl CircuitBreaker for CircuitBreaker {
        fn capabilities(&self) -> &BreakerCapabilities;
        fn circuit(&self, name: &str) -> Result<Arc<dyn Circuit>>;
        fn find(&self, name: &str) -> Option<Arc<dyn Circuit>>;
        fn circuit_state(&self, name: &str) -> Result<CircuitStatus>;
        fn circuit_metrics(&self, name: &str) -> Result<CircuitMetrics>;
        fn all_circuit_states(&self) -> BTreeMap<Arc<str>, CircuitStatus>;
        fn configure_circuit_breaker(&self, name: &str, config: CircuitBreakerConfig) -> Result<()>;
        fn reset_circuit_breaker(&self, name: &str) -> Result<()>;
        fn force_circuit_open(&self, name: &str) -> Result<()>;
        fn force_circuit_closed(&self, name: &str) -> Result<()>;
        fn listen(&self, listener: Arc<dyn CircuitListener>) -> Result<()>;
        fn circuit_snapshot(&self, name: &str) -> Result<CircuitSnapshot>;
        fn restore_circuit(&self, name: &str, snapshot: &CircuitSnapshot) -> Result<()>;
    }
}

impl fmt::Debug for MockCircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockCircuitBreaker").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use onex_spi::breaker::{CircuitBreakerExt, CircuitState, ExecuteError};
    use onex_spi::{Error, ErrorKind};

    use super::*;

    #[tokio::test]
    async fn a_mock_stands_where_the_port_stands() {
        let mut mock = MockCircuitBreaker::new();
        mock.expect_circuit_state()
            .withf(|name| name == "payments")
            .returning(|_| Ok(CircuitStatus::forced(CircuitState::Open)));
        mock.expect_circuit()
            .returning(|_| Err(Error::new(ErrorKind::ResourceExhausted, "breaker.circuit", "no room")));
        mock.expect_close().times(1).returning(|_| Ok(()));
        let breaker: Arc<dyn CircuitBreaker> = Arc::new(mock);
        assert_eq!(breaker.circuit_state("payments").ok(), Some(CircuitStatus::forced(CircuitState::Open)));
        let refused =
            breaker.execute_with_circuit_breaker("payments", None, || async { Ok::<_, Error>(()) }).await;
        assert!(
            matches!(&refused, Err(ExecuteError::Operation(error)) if error.kind() == ErrorKind::ResourceExhausted),
            "{refused:?}"
        );
        breaker.close(Duration::ZERO).await.expect("as told");
    }
}
