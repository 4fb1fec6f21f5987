//! What every breaker's callers share: the permit, the timeout, the classification, the panic rule.
//!
//! ```text
//!  call(timeout, op) ─► admit ─ rejected ─► ExecuteError::Rejected, `op` untouched
//!                         └─ permit ─► op() polled beside one timer of the circuit's clock
//!                                        ├ result ─► classify ─► settle
//!                                        ├ timer first ─► op dropped ─► settle(TimedOut)
//!                                        ├ dropped ─► settle(Cancelled)
//!                                        └ panic ─► settle(Failure), raised again
//! ```

use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::{Circuit, CircuitBreaker, ExecuteError, Outcome, Rejection, Ticket};
use crate::Error;

/// The right to one call: settle it, or drop it, which counts as cancelled (R3) or, in a panic, as failed (R16).
///
/// `H` holds the circuit: `&C` for a call that ends where it begins ([`CircuitExt::try_acquire`]), `Arc<dyn Circuit>` for one
/// that ends elsewhere.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use onex_spi::breaker::{Circuit, Permit, Rejection};
///
/// fn send(circuit: &Arc<dyn Circuit>) -> Result<(), Rejection> {
///     let permit = Permit::acquire(Arc::clone(circuit), None)?;
///     std::thread::spawn(move || permit.success());
///     Ok(())
/// }
/// ```
#[must_use = "dropping a permit settles it as cancelled"]
#[derive(Debug)]
pub struct Permit<H>
where
    H: Deref,
    H::Target: Circuit,
{
    circuit: H,
    ticket: Option<Ticket>,
    panicking_before: bool,
}

impl<H> Permit<H>
where
    H: Deref,
    H::Target: Circuit,
{
    /// Asks for the right to one call that may take `call_timeout`, which its lease follows (R7); `None` = the circuit's own limit.
    ///
    /// # Errors
    /// A [`Rejection`].
    pub fn acquire(circuit: H, call_timeout: Option<Duration>) -> Result<Self, Rejection> {
        let ticket = Some(circuit.admit(call_timeout)?);
        Ok(Self { circuit, ticket, panicking_before: std::thread::panicking() })
    }

    /// The circuit that gave it.
    pub fn circuit(&self) -> &H::Target {
        &self.circuit
    }

    /// Settles the call.
    pub fn settle(mut self, outcome: Outcome) {
        self.settle_once(outcome);
    }

    /// Settles the call as succeeded.
    pub fn success(self) {
        self.settle(Outcome::Success);
    }

    /// Settles the call as failed.
    pub fn failure(self) {
        self.settle(Outcome::Failure);
    }

    /// Settles the call as failed in a way that opens the circuit at once, for `wait` where it is given (R20).
    pub fn trip(self, wait: Option<Duration>) {
        self.settle(Outcome::Trip { wait });
    }

    fn settle_once(&mut self, outcome: Outcome) {
        if let Some(ticket) = self.ticket.take() {
            self.circuit.settle(ticket, outcome);
        }
    }
}

impl<H> Drop for Permit<H>
where
    H: Deref,
    H::Target: Circuit,
{
    fn drop(&mut self) {
        if self.ticket.is_none() {
            return;
        }
        let panicked = std::thread::panicking() && !self.panicking_before;
        self.settle_once(if panicked { Outcome::Failure } else { Outcome::Cancelled });
    }
}

/// Calls through a circuit; the blanket impl is the only one there can be.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use onex_spi::breaker::{Circuit, CircuitExt, ExecuteError};
///
/// # async fn fetch() -> Result<u32, std::io::Error> { Ok(7) }
/// async fn price(circuit: Arc<dyn Circuit>) -> Option<u32> {
///     match circuit.call(Some(Duration::from_secs(1)), fetch).await {
///         Ok(price) => Some(price),
///         Err(ExecuteError::Rejected { rejection, .. }) => {
///             eprintln!("try again in {:?}", rejection.retry_after);
///             None
///         }
///         Err(ExecuteError::TimedOut | ExecuteError::Operation(_)) => None,
///     }
/// }
/// ```
pub trait CircuitExt: Circuit {
    /// Asks for the right to one call that is not a future, or whose outcome is told by hand.
    ///
    /// # Errors
    /// A [`Rejection`].
    fn try_acquire(&self) -> Result<Permit<&Self>, Rejection> {
        self.try_acquire_for(None)
    }

    /// As [`try_acquire`](Self::try_acquire) for a call that brings its own time limit, which its lease follows (R7);
    /// `None` = the circuit's own.
    ///
    /// # Errors
    /// A [`Rejection`].
    fn try_acquire_for(&self, call_timeout: Option<Duration>) -> Result<Permit<&Self>, Rejection> {
        Permit::acquire(self, call_timeout)
    }

    /// Runs `op` if the circuit lets it through; every `Err` is a failure.
    ///
    /// The admission happens at the first poll. `timeout` = `None` takes the circuit's own limit.
    fn call<T, E, Op, Fut>(
        &self,
        timeout: Option<Duration>,
        op: Op,
    ) -> impl Future<Output = Result<T, ExecuteError<E>>> + Send
    where
        Op: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
        T: Send,
        E: Send,
    {
        self.call_classified(timeout, op, |result| match result {
            Ok(_) => Outcome::Success,
            Err(_) => Outcome::Failure,
        })
    }

    /// Runs `op` if the circuit lets it through; `classify` says what its result means.
    fn call_classified<T, E, Op, Fut, Classify>(
        &self,
        timeout: Option<Duration>,
        op: Op,
        classify: Classify,
    ) -> impl Future<Output = Result<T, ExecuteError<E>>> + Send
    where
        Op: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
        Classify: FnOnce(&Result<T, E>) -> Outcome + Send,
        T: Send,
        E: Send,
    {
        async move {
            let timeout = timeout.or_else(|| self.call_timeout());
            // Settled in its place: moving it out would copy what was written a moment ago, for which the processor stalls.
            let mut permit = match self.try_acquire_for(timeout) {
                Ok(permit) => permit,
                Err(rejection) => {
                    return Err(ExecuteError::Rejected { circuit: Arc::from(self.name()), rejection });
                }
            };
            // A limit beyond what the clock can express is no limit.
            let deadline = timeout.and_then(|timeout| self.clock().now().checked_add(timeout));
            let result = match deadline {
                Some(deadline) => within(self, deadline, op()).await,
                None => Some(op().await),
            };
            match result {
                Some(result) => {
                    let outcome = classify(&result);
                    permit.settle_once(outcome);
                    result.map_err(ExecuteError::Operation)
                }
                None => {
                    permit.settle_once(Outcome::TimedOut);
                    Err(ExecuteError::TimedOut)
                }
            }
        }
    }
}

impl<C: Circuit + ?Sized> CircuitExt for C {}

/// Polls `future` first and the timer second, so that a result at the very limit is a result; the timer is made only
/// once the future is pending.
async fn within<C, Fut>(circuit: &C, deadline: Instant, future: Fut) -> Option<Fut::Output>
where
    C: Circuit + ?Sized,
    Fut: Future + Send,
{
    let mut future = pin!(future);
    let mut timer = None;
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        timer.get_or_insert_with(|| circuit.clock().timer()).poll_at(deadline, cx).map(|()| None)
    })
    .await
}

/// Calls by name; the blanket impl is the only one there can be. Hot paths hold a [`Circuit`].
pub trait CircuitBreakerExt: CircuitBreaker {
    /// Runs `op` if the circuit of that name lets it through, making the circuit where it is new.
    ///
    /// A circuit that cannot be had (`ResourceExhausted`, `InvalidInput`, `Closed`) is `ExecuteError::Operation`: the
    /// operation is never run unprotected.
    #[doc(alias = "execute")]
    fn execute_with_circuit_breaker<T, E, Op, Fut>(
        &self,
        name: &str,
        timeout: Option<Duration>,
        op: Op,
    ) -> impl Future<Output = Result<T, ExecuteError<E>>> + Send
    where
        Op: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
        T: Send,
        E: From<Error> + Send,
    {
        async move {
            let circuit = self.circuit(name).map_err(|error| ExecuteError::Operation(error.into()))?;
            circuit.call(timeout, op).await
        }
    }

    /// As [`execute_with_circuit_breaker`](Self::execute_with_circuit_breaker); any error becomes what `fallback` makes of it.
    ///
    /// The fallback is outside the accounting.
    fn execute_with_fallback<T, E, Op, Fut, Fallback>(
        &self,
        name: &str,
        timeout: Option<Duration>,
        op: Op,
        fallback: Fallback,
    ) -> impl Future<Output = T> + Send
    where
        Op: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
        Fallback: FnOnce(ExecuteError<E>) -> T + Send,
        T: Send,
        E: From<Error> + Send,
    {
        async move { self.execute_with_circuit_breaker(name, timeout, op).await.unwrap_or_else(fallback) }
    }
}

impl<B: CircuitBreaker + ?Sized> CircuitBreakerExt for B {}
