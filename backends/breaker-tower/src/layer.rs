//! The layer, the service that it makes, and the classification of what comes back.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use onex_spi::breaker::{Circuit, ExecuteError, Outcome, Permit};
use tower_layer::Layer;
use tower_service::Service;

use crate::future::CircuitFuture;

/// Says what a call came to; closures over `&Result<T, E>` do.
pub trait Classify<T, E> {
    /// The outcome.
    fn outcome(&self, result: &Result<T, E>) -> Outcome;
}

impl<T, E, F: Fn(&Result<T, E>) -> Outcome> Classify<T, E> for F {
    fn outcome(&self, result: &Result<T, E>) -> Outcome {
        self(result)
    }
}

/// Every `Err` is a failure, every `Ok` a success.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default)]
pub struct ErrorsFail;

impl<T, E> Classify<T, E> for ErrorsFail {
    fn outcome(&self, result: &Result<T, E>) -> Outcome {
        if result.is_ok() { Outcome::Success } else { Outcome::Failure }
    }
}

/// Puts services behind a circuit.
#[derive(Clone, Debug)]
pub struct CircuitLayer<C = ErrorsFail> {
    circuit: Arc<dyn Circuit>,
    timeout: Option<Duration>,
    classify: C,
}

impl CircuitLayer {
    /// Asks `circuit` before each call; every `Err` is a failure.
    #[must_use]
    pub fn new(circuit: Arc<dyn Circuit>) -> Self {
        Self { circuit, timeout: None, classify: ErrorsFail }
    }
}

impl<C> CircuitLayer<C> {
    /// Limits each call; without it the circuit's own `call_timeout` applies.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Lets `classify` say what each result means.
    #[must_use]
    pub fn classify<T, E, F: Fn(&Result<T, E>) -> Outcome>(self, classify: F) -> CircuitLayer<F> {
        CircuitLayer { circuit: self.circuit, timeout: self.timeout, classify }
    }
}

impl<S, C: Clone> Layer<S> for CircuitLayer<C> {
    type Service = CircuitService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitService { inner, layer: self.clone() }
    }
}

/// A service behind a circuit.
#[derive(Clone, Debug)]
pub struct CircuitService<S, C = ErrorsFail> {
    inner: S,
    layer: CircuitLayer<C>,
}

impl<S, C> CircuitService<S, C> {
    /// The service behind the circuit.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S, C, Request> Service<Request> for CircuitService<S, C>
where
    S: Service<Request>,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = ExecuteError<S::Error>;
    type Future = CircuitFuture<S::Future, C, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(ExecuteError::Operation)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let CircuitLayer { circuit, timeout, classify } = &self.layer;
        let timeout = timeout.or_else(|| circuit.call_timeout());
        // Before the inner call, whose panic must settle it.
        match Permit::acquire(Arc::clone(circuit), timeout) {
            Ok(permit) => {
                let call = self.inner.call(request);
                CircuitFuture::running(call, permit, classify.clone(), timeout)
            }
            Err(rejection) => {
                let circuit = Arc::from(circuit.name());
                CircuitFuture::rejected(ExecuteError::Rejected { circuit, rejection })
            }
        }
    }
}
