//! Targets behind circuits, whatever protocol they speak.
//!
//! ```text
//!  target table ─ without `circuit` ───────────────► the protocol's own target
//!                 └ circuit = "orders" ─► circuit ─► permit ─► the protocol's own target ─► outcome of the batch
//!                                           └ rejected: each message gets a retryable error, nobody is asked
//! ```

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::breaker::{Circuit, CircuitBreaker, CircuitState, ExecuteError, Outcome, Permit};
use onex_spi::bridge::{BridgeContext, BridgeMessage, BridgeProtocol, BridgeSource, BridgeTarget, Protocol};
use onex_spi::provider::{KeyError, Table, Value};
use onex_spi::{Error, ErrorKind, Health, Lifecycle, Result};

use crate::error::CREATE;

const KEY: &str = "circuit";

/// Adds the key `circuit` to the targets of a protocol: the name of a circuit of `breaker` that each delivery asks.
///
/// A batch is one call. It succeeded if a message of it was accepted; it failed if none was and another attempt may help, at once and
/// for as long as the other side asks where it asks ([`Error::retry_after`]); refusals of the messages themselves say nothing about
/// the other side. While the circuit is open each message gets a retryable error and stays with the bridge's retry (B6). A target
/// whose circuit is open is `Degraded`.
///
/// Without a breaker the key is checked, and a target that has it is not opened.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use onex_bridge::{guarded, memory::MemoryHub};
/// use onex_spi::breaker::CircuitBreaker;
/// use onex_spi::bridge::CommunicationBridge;
/// use onex_spi::{Clock, Result};
///
/// fn bridge(breaker: Arc<dyn CircuitBreaker>, clock: Arc<dyn Clock>) -> Result<Arc<dyn CommunicationBridge>> {
///     let hub = MemoryHub::new();
///     onex_bridge::open(vec![guarded(hub.protocol(), Some(breaker))], clock, 7)
/// }
/// ```
#[must_use]
pub fn guarded(
    protocol: Arc<dyn BridgeProtocol>,
    breaker: Option<Arc<dyn CircuitBreaker>>,
) -> Arc<dyn BridgeProtocol> {
    Arc::new(Guarded { protocol, breaker })
}

#[derive(Debug)]
struct Guarded {
    protocol: Arc<dyn BridgeProtocol>,
    breaker: Option<Arc<dyn CircuitBreaker>>,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BridgeProtocol for Guarded {
    fn name(&self) -> Protocol {
        self.protocol.name()
    }

    fn check_source(&self, config: &Table) -> Vec<KeyError> {
        self.protocol.check_source(config)
    }

    fn check_target(&self, config: &Table) -> Vec<KeyError> {
        let mut own = config.clone();
        let circuit = own.remove(KEY).and_then(|value| named(&value).err());
        let mut errors: Vec<_> = circuit.map(|message| KeyError::new(KEY, message)).into_iter().collect();
        errors.extend(self.protocol.check_target(&own));
        errors
    }

    async fn source(&self, config: Table, context: &BridgeContext) -> Result<Arc<dyn BridgeSource>> {
        self.protocol.source(config, context).await
    }

    async fn target(&self, mut config: Table, context: &BridgeContext) -> Result<Arc<dyn BridgeTarget>> {
        let Some(value) = config.remove(KEY) else { return self.protocol.target(config, context).await };
        let name = named(&value).map_err(|message| Error::invalid(CREATE, format!("{KEY}: {message}")))?;
        let Some(breaker) = &self.breaker else {
            let message = format!("{KEY}: `{name}` asks a breaker, and there is none; give the bridge one");
            return Err(Error::invalid(CREATE, message));
        };
        let circuit = breaker.circuit(name)?;
        let target = self.protocol.target(config, context).await?;
        Ok(Arc::new(GuardedTarget { target, circuit }))
    }
}

fn named(value: &Value) -> Result<&str, String> {
    match value {
        Value::String(name) if !name.trim().is_empty() => Ok(name),
        Value::String(_) => Err("invalid value: the name of a circuit is not blank".to_owned()),
        _ => Err("invalid type: expected the name of a circuit in quotes".to_owned()),
    }
}

#[derive(Debug)]
struct GuardedTarget {
    target: Arc<dyn BridgeTarget>,
    circuit: Arc<dyn Circuit>,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Lifecycle for GuardedTarget {
    async fn health(&self) -> Health {
        let health = self.target.health().await;
        let status = self.circuit.status();
        match health {
            Health::Healthy if status.state != CircuitState::Closed => {
                Health::Degraded(format!("its circuit `{}` is {:?}", self.circuit.name(), status.state))
            }
            health => health,
        }
    }

    async fn close(&self, within: Duration) -> Result<()> {
        self.target.close(within).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BridgeTarget for GuardedTarget {
    fn check_route(&self, to: &str) -> Result<()> {
        self.target.check_route(to)
    }

    fn address(&self, to: &str) -> String {
        self.target.address(to)
    }

    async fn deliver(&self, to: &Arc<str>, messages: &[BridgeMessage]) -> Vec<Result<Option<BridgeMessage>>> {
        if messages.is_empty() {
            return self.target.deliver(to, messages).await;
        }
        match Permit::acquire(&*self.circuit, None) {
            Ok(permit) => {
                let answers = self.target.deliver(to, messages).await;
                permit.settle(outcome_of(&answers));
                answers
            }
            Err(rejection) => {
                let circuit = Arc::from(self.circuit.name());
                let error = Error::from(ExecuteError::Rejected { circuit, rejection });
                messages.iter().map(|_| Err(error.clone())).collect()
            }
        }
    }
}

/// What a batch says about the other side.
fn outcome_of(answers: &[Result<Option<BridgeMessage>>]) -> Outcome {
    if answers.iter().any(Result::is_ok) {
        return Outcome::Success;
    }
    let mut may_pass = answers.iter().filter_map(|answer| answer.as_ref().err());
    match may_pass.find(|error| error.is_retryable(true)) {
        None => Outcome::Ignored,
        Some(error) if error.retry_after().is_some() => Outcome::Trip { wait: error.retry_after() },
        Some(error) if error.kind() == ErrorKind::TimedOut => Outcome::TimedOut,
        Some(_) => Outcome::Failure,
    }
}
