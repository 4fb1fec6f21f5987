//! The door of what can be closed.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use crate::{Clock, Error, ErrorKind, Health, Result, Timer};

/// Knows who is inside, refuses newcomers once it is closed, and cuts whoever is left when the time of the close is over.
///
/// ```text
///  enter ─► Pass ─── dropped: left          Open ── close(within) ─► Closing ─┬─ nobody is left ─► Closed
///             └ poll_cut: ready when cut                                      └─ `within` ──────► Closed, the rest is cut
/// ```
///
/// It makes [`Lifecycle::close`](crate::Lifecycle::close) true for whatever has neither tasks nor a runtime of its own:
/// each one who waits, inside or for the end of the close, watches the same deadline, so the cut comes also where
/// the future of the close was dropped. Clones are the same gate.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use onex_spi::{Gate, Result};
///
/// struct Greeter(Gate);
///
/// impl Greeter {
///     async fn greet(&self) -> Result<String> {
///         let mut pass = self.0.enter("greeter.greet")?;
///         tokio::select! {
///             greeting = async { "hello".to_owned() } => Ok(greeting),
///             () = pass.cut() => Err(pass.cut_error("greeter.greet")),
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// # #[cfg(feature = "tokio")] {
/// let greeter = Greeter(Gate::new("the greeter", Arc::new(onex_spi::TokioClock::new())));
/// assert_eq!(greeter.greet().await?, "hello");
/// greeter.0.close("greeter.close", Duration::from_secs(10)).await?;
/// assert!(greeter.greet().await.is_err());
/// # }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Gate(Arc<Shared>);

struct Shared {
    what: &'static str,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    phase: Phase,
    inside: usize,
    waiting: Waiting,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// Until then; `None` = as long as it takes.
    Closing(Option<Instant>),
    /// With so many inside.
    Closed(usize),
}

impl Gate {
    /// Makes an open gate to `what`, such as `the client`; the time of a close runs on `clock`.
    pub fn new(what: &'static str, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Shared { what, clock, state: Mutex::default() }))
    }

    /// Lets the caller in.
    ///
    /// # Errors
    /// `Closed` from the first moment of a close.
    pub fn enter(&self, operation: &'static str) -> Result<Pass> {
        let mut state = self.0.state();
        if state.phase != Phase::Open {
            drop(state);
            return Err(Error::closed(operation, self.0.what));
        }
        Ok(self.let_in(&mut state))
    }

    /// Lets in what belongs to somebody inside, such as the response body of a call, also while the gate closes.
    #[must_use]
    pub fn stay(&self) -> Pass {
        self.let_in(&mut self.0.state())
    }

    fn let_in(&self, state: &mut State) -> Pass {
        state.inside += 1;
        Pass(Watch { gate: self.clone(), place: state.waiting.add(), timer: None })
    }

    /// Whether a close has begun.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.state().phase != Phase::Open
    }

    /// What [`Lifecycle::health`](crate::Lifecycle::health) tells of something that works until it is closed.
    #[must_use]
    pub fn health(&self) -> Health {
        if self.is_closed() {
            return Health::Unhealthy(format!("{} is closed", self.0.what));
        }
        Health::Healthy
    }

    /// How many are inside.
    #[must_use]
    pub fn inside(&self) -> usize {
        self.0.state().inside
    }

    /// Refuses newcomers from now on and cuts whoever is still inside after `within`; waits for nothing.
    ///
    /// A gate that closes already keeps its time.
    pub fn begin_close(&self, within: Duration) {
        let deadline = self.0.clock.now().checked_add(within);
        let woken = {
            let mut state = self.0.state();
            if state.phase != Phase::Open {
                return;
            }
            state.phase = if state.inside == 0 { Phase::Closed(0) } else { Phase::Closing(deadline) };
            state.waiting.take_wakers()
        };
        woken.into_iter().for_each(Waker::wake);
    }

    /// Closes as [`begin_close`](Self::begin_close) and waits for the end of it; closing again is `Ok`.
    ///
    /// # Errors
    /// `TimedOut` where somebody was cut.
    /// # Cancellation
    /// The close goes on behind; calling again waits for it.
    pub async fn close(&self, operation: &'static str, within: Duration) -> Result<()> {
        let mut watch = {
            let mut state = self.0.state();
            if matches!(state.phase, Phase::Closed(_)) {
                return Ok(());
            }
            Watch { gate: self.clone(), place: state.waiting.add(), timer: None }
        };
        self.begin_close(within);
        match std::future::poll_fn(|cx| watch.poll_closed(cx)).await {
            0 => Ok(()),
            cut => {
                let message =
                    format!("{cut} still ran after {within:?} and were cut; {} is closed", self.0.what);
                Err(Error::new(ErrorKind::TimedOut, operation, message))
            }
        }
    }

    /// Closes and cuts whoever is inside, at once.
    pub fn cut(&self) {
        let woken = {
            let mut state = self.0.state();
            if matches!(state.phase, Phase::Closed(_)) {
                return;
            }
            state.phase = Phase::Closed(state.inside);
            state.waiting.take_wakers()
        };
        woken.into_iter().for_each(Waker::wake);
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state();
        f.debug_struct("Gate")
            .field("phase", &state.phase)
            .field("inside", &state.inside)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Held for a moment; no waker is woken under it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to be inside a [`Gate`]; dropping it leaves.
#[derive(Debug)]
pub struct Pass(Watch);

impl Pass {
    /// Ready once the gate cuts whoever is inside.
    pub fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_closed(cx).map(drop)
    }

    /// Completes once the gate cuts whoever is inside.
    ///
    /// # Cancellation
    /// The pass stays valid.
    pub async fn cut(&mut self) {
        std::future::poll_fn(|cx| self.poll_cut(cx)).await;
    }

    /// The error of a call that was cut: [`ErrorKind::Closed`], and whether it happened all the same is not known.
    #[must_use]
    pub fn cut_error(&self, operation: &'static str) -> Error {
        let message = format!("{} was closed while the call ran; open a new one", self.0.gate.0.what);
        Error::new(ErrorKind::Closed, operation, message)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let woken = {
            let mut state = self.0.gate.0.state();
            state.inside -= 1;
            if state.inside > 0 || !matches!(state.phase, Phase::Closing(_)) {
                return;
            }
            state.phase = Phase::Closed(0);
            state.waiting.take_wakers()
        };
        woken.into_iter().for_each(Waker::wake);
    }
}

/// Somebody who waits for the end of a close.
struct Watch {
    gate: Gate,
    place: usize,
    /// Made once a close has begun.
    timer: Option<Box<dyn Timer>>,
}

impl Watch {
    /// How many were inside at the end; whoever sees the deadline pass makes it the end.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        let shared = &*self.gate.0;
        loop {
            let (phase, replaced) = {
                let mut state = shared.state();
                if let Phase::Closed(cut) = state.phase {
                    return Poll::Ready(cut);
                }
                (state.phase, state.waiting.set(self.place, cx.waker()))
            };
            drop(replaced);
            let Phase::Closing(Some(deadline)) = phase else { return Poll::Pending };
            let timer = self.timer.get_or_insert_with(|| shared.clock.timer());
            ready!(timer.poll_at(deadline, cx));
            self.gate.cut();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let waker = self.gate.0.state().waiting.remove(self.place);
        drop(waker);
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.gate.fmt(f)
    }
}

/// Wakers by place; a place that was left is given out again.
#[derive(Default)]
struct Waiting {
    places: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Waiting {
    fn add(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        })
    }

    /// Sets whom to wake; what it returns is to be dropped outside the lock.
    fn set(&mut self, place: usize, waker: &Waker) -> Option<Waker> {
        let known = &mut self.places[place];
        match known {
            Some(known) if known.will_wake(waker) => None,
            _ => known.replace(waker.clone()),
        }
    }

    fn remove(&mut self, place: usize) -> Option<Waker> {
        self.free.push(place);
        self.places[place].take()
    }

    fn take_wakers(&mut self) -> Vec<Waker> {
        self.places.iter_mut().filter_map(Option::take).collect()
    }
}

#[cfg(all(test, feature = "tokio"))]
mod tests {
    use super::*;
    use crate::TokioClock;

    const MINUTE: Duration = Duration::from_secs(60);

    fn gate() -> Gate {
        Gate::new("the thing", Arc::new(TokioClock::new()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_close_waits_for_those_inside_and_refuses_newcomers() {
        let gate = gate();
        let (call, body) = (gate.enter("thing.call").expect("open"), gate.stay());
        let closing = tokio::spawn({
            let gate = gate.clone();
            async move { gate.close("thing.close", MINUTE).await }
        });
        tokio::task::yield_now().await;
        let refused = gate.enter("thing.call").expect_err("closing");
        assert_eq!(
            (refused.kind(), refused.message()),
            (ErrorKind::Closed, "the thing is closed; open a new one")
        );
        drop(call);
        tokio::task::yield_now().await;
        assert!(!closing.is_finished() && gate.inside() == 1, "a body is still inside");
        drop(body);
        closing.await.expect("no panic").expect("in time");
        gate.close("thing.close", MINUTE).await.expect("closing again");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_left_at_the_end_is_cut_and_told() {
        let gate = gate();
        let mut pass = gate.enter("thing.call").expect("open");
        let running = tokio::spawn(async move { pass.cut().await });
        tokio::task::yield_now().await;
        let begin = tokio::time::Instant::now();
        let late = gate.close("thing.close", MINUTE).await.expect_err("somebody was inside");
        assert_eq!((late.kind(), begin.elapsed()), (ErrorKind::TimedOut, MINUTE));
        assert_eq!(late.message(), "1 still ran after 60s and were cut; the thing is closed");
        running.await.expect("no panic");
        gate.close("thing.close", MINUTE).await.expect("closing again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_close_goes_on_behind_where_its_future_was_dropped() {
        let gate = gate();
        let mut pass = gate.enter("thing.call").expect("open");
        let running = tokio::spawn(async move { pass.cut().await });
        tokio::task::yield_now().await;
        let begin = tokio::time::Instant::now();
        tokio::select! {
            biased;
            _ = gate.close("thing.close", MINUTE) => panic!("somebody is inside"),
            () = std::future::ready(()) => {}
        }
        let again = tokio::spawn({
            let gate = gate.clone();
            async move { gate.close("thing.close", 10 * MINUTE).await }
        });
        running.await.expect("no panic");
        assert_eq!(begin.elapsed(), MINUTE, "the first close set the time");
        let late = again.await.expect("no panic").expect_err("waited for the first");
        assert_eq!(late.kind(), ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_cut_reaches_everybody_at_once_and_places_are_used_again() {
        let gate = gate();
        let passes: Vec<_> = (0..3).map(|_| gate.enter("thing.call").expect("open")).collect();
        drop(passes);
        let (mut one, mut two) = (gate.stay(), gate.stay());
        let places = gate.0.state().waiting.places.len();
        assert_eq!((places, gate.inside()), (3, 2));
        let both = tokio::spawn(async move { (one.cut().await, two.cut().await) });
        tokio::task::yield_now().await;
        gate.cut();
        both.await.expect("no panic");
        assert!(gate.is_closed() && gate.inside() == 0);
        assert_eq!(gate.health(), Health::Unhealthy("the thing is closed".to_owned()));
        gate.stay().cut().await;
    }

    #[tokio::test]
    async fn a_close_without_end_waits_as_long_as_it_takes() {
        let gate = gate();
        let pass = gate.enter("thing.call").expect("open");
        gate.begin_close(Duration::MAX);
        gate.begin_close(Duration::ZERO);
        let mut closing = std::pin::pin!(gate.close("thing.close", Duration::ZERO));
        assert!(closing.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(pass);
        closing.await.expect("nobody was cut");
    }
}
