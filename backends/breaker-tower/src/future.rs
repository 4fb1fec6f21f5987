//! One call through the circuit.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use onex_spi::Timer;
use onex_spi::breaker::{Circuit, ExecuteError, Outcome, Permit};
use pin_project_lite::pin_project;

use crate::Classify;

pin_project! {
    /// What [`CircuitService`](crate::CircuitService) answers with.
    ///
    /// # Cancellation
    /// Dropping it drops the inner call and settles its permit as cancelled.
    #[must_use = "futures do nothing unless polled"]
    pub struct CircuitFuture<F, C, E> {
        #[pin]
        state: State<F, C, E>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F, C, E> {
        Rejected { error: Option<ExecuteError<E>> },
        Running {
            #[pin]
            call: F,
            running: Option<Running<C>>,
        },
        Done,
    }
}

/// What a running call holds beside the inner future; taken out while that is polled, so that a panic finds the permit on the stack.
struct Running<C> {
    permit: Permit<Arc<dyn Circuit>>,
    classify: C,
    limit: Option<Limit>,
}

struct Limit {
    at: Instant,
    timer: Option<Box<dyn Timer>>,
}

impl<F, C, E> CircuitFuture<F, C, E> {
    pub(crate) fn rejected(error: ExecuteError<E>) -> Self {
        Self { state: State::Rejected { error: Some(error) } }
    }

    /// Limits `call` to `timeout`; one beyond what the clock can express is no limit.
    pub(crate) fn running(
        call: F,
        permit: Permit<Arc<dyn Circuit>>,
        classify: C,
        timeout: Option<Duration>,
    ) -> Self {
        let at = timeout.and_then(|timeout| permit.circuit().clock().now().checked_add(timeout));
        let limit = at.map(|at| Limit { at, timer: None });
        Self { state: State::Running { call, running: Some(Running { permit, classify, limit }) } }
    }
}

impl<F, C, E> fmt::Debug for CircuitFuture<F, C, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitFuture").finish_non_exhaustive()
    }
}

impl<F, C, T, E> Future for CircuitFuture<F, C, E>
where
    F: Future<Output = Result<T, E>>,
    C: Classify<T, E>,
{
    type Output = Result<T, ExecuteError<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        let ended = match state.as_mut().project() {
            StateProjection::Rejected { error } => error.take().map(Err),
            StateProjection::Running { call, running } => {
                let Some(mut now) = running.take() else { panicked() };
                // The call first, the timer second: a result at the very limit is a result.
                if let Poll::Ready(result) = call.poll(cx) {
                    let outcome = now.classify.outcome(&result);
                    now.permit.settle(outcome);
                    Some(result.map_err(ExecuteError::Operation))
                } else if now.limit.as_mut().is_some_and(|limit| limit.is_over(&now.permit, cx)) {
                    // The call is dropped before anybody is told that it ran out of time.
                    state.set(State::Done);
                    now.permit.settle(Outcome::TimedOut);
                    return Poll::Ready(Err(ExecuteError::TimedOut));
                } else {
                    *running = Some(now);
                    return Poll::Pending;
                }
            }
            StateProjection::Done => None,
        };
        state.set(State::Done);
        match ended {
            Some(ended) => Poll::Ready(ended),
            None => panicked(),
        }
    }
}

impl Limit {
    fn is_over(&mut self, permit: &Permit<Arc<dyn Circuit>>, cx: &mut Context<'_>) -> bool {
        let timer = self.timer.get_or_insert_with(|| permit.circuit().clock().timer());
        timer.poll_at(self.at, cx).is_ready()
    }
}

#[allow(clippy::panic, reason = "as every future of an async block")]
fn panicked() -> ! {
    panic!("polled after it ended or panicked")
}
