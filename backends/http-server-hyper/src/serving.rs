//! One listening address: its connections, its close.
//!
//! ```text
//!  connection   idle ── request ─► busy ── answer at the kernel ─► idle
//!  address      Open ── close(within) ─► Closing: no accept, every connection told ─► all ended, or `within` ─► Closed { cut }
//! ```
//!
//! At `within` every connection that is left ends: one that is busy is cut, one that is idle had not yet got its turn. What a
//! handler does meanwhile holds nothing up, because the end waits for no task: a handler that blocks its thread keeps the
//! thread, not the close.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use onex_spi::http::{HttpService, HttpServing};
use onex_spi::{Clock, Health, Lifecycle, Result};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::error;

/// What the tasks of one listening address share.
pub(crate) struct Shared {
    pub(crate) service: Arc<dyn HttpService>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) address: SocketAddr,
    in_flight: AtomicU64,
    state: Mutex<State>,
    /// The address was closed, or lost a connection while it closes.
    changed: Notify,
}

struct State {
    phase: Phase,
    accept: Option<AbortHandle>,
    next_id: u64,
    connections: BTreeMap<u64, Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    Closing,
    Closed { cut: bool },
}

struct Entry {
    /// `None` for the moment in which the task is started.
    task: Option<AbortHandle>,
    link: Arc<Link>,
}

/// What the books know of one connection; its own, so that no poll takes a lock that others take.
#[derive(Default)]
pub(crate) struct Link {
    closing: AtomicBool,
    waker: Mutex<Option<Waker>>,
    /// Exchanges whose answer hyper has not taken whole.
    running: AtomicU64,
    /// From the begin of an exchange until its answer is at the kernel.
    busy: AtomicBool,
}

impl Link {
    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self) {
        self.closing.store(true, Ordering::SeqCst);
        let waker = self.waker().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Everything that hyper was given is at the kernel.
    pub(crate) fn flushed(&self) {
        if self.running.load(Ordering::SeqCst) == 0 {
            self.busy.store(false, Ordering::SeqCst);
        }
    }
}

impl Shared {
    pub(crate) fn new(
        service: Arc<dyn HttpService>,
        clock: Arc<dyn Clock>,
        address: SocketAddr,
    ) -> Arc<Self> {
        let state = State { phase: Phase::Open, accept: None, next_id: 0, connections: BTreeMap::new() };
        Arc::new(Self {
            service,
            clock,
            address,
            in_flight: AtomicU64::new(0),
            state: Mutex::new(state),
            changed: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn accepts_by(&self, task: AbortHandle) {
        self.state().accept = Some(task);
    }

    /// Starts the task of one connection, unless the address closes.
    pub(crate) fn spawn<F>(self: &Arc<Self>, drive: impl FnOnce(Told) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let link = Arc::<Link>::default();
        let id = {
            let mut state = self.state();
            if state.phase != Phase::Open {
                return;
            }
            let id = state.next_id;
            state.next_id += 1;
            state.connections.insert(id, Entry { task: None, link: link.clone() });
            id
        };
        let told = Told { shared: self.clone(), id, link, waker: None, told: false };
        // Outside the lock: a runtime that is being shut down drops the task, and with it the entry, in this call.
        let task = tokio::spawn(drive(told)).abort_handle();
        let mut state = self.state();
        if matches!(state.phase, Phase::Closed { .. }) {
            drop(state);
            task.abort();
        } else if let Some(entry) = state.connections.get_mut(&id) {
            entry.task = Some(task);
        }
    }

    /// Begins an exchange on the connection of `link`.
    pub(crate) fn begin(self: &Arc<Self>, link: Arc<Link>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        link.running.fetch_add(1, Ordering::SeqCst);
        link.busy.store(true, Ordering::SeqCst);
        InFlight { shared: self.clone(), link }
    }

    async fn until(&self, reached: impl Fn(&State) -> bool) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if reached(&self.state()) {
                return;
            }
            changed.await;
        }
    }

    /// Stops accepting and tells every connection; the task that is started cuts at `deadline`.
    ///
    /// `false` where it was closed before.
    pub(crate) fn begin_close(self: &Arc<Self>, deadline: Option<Instant>) -> bool {
        let mut state = self.state();
        match state.phase {
            Phase::Open => {}
            Phase::Closing => return true,
            Phase::Closed { .. } => return false,
        }
        state.phase = Phase::Closing;
        if let Some(accept) = state.accept.take() {
            accept.abort();
        }
        let links: Vec<_> = state.connections.values().map(|entry| entry.link.clone()).collect();
        drop(state);
        links.iter().for_each(|link| link.send());
        tokio::spawn(Closing(self.clone()).finish(deadline));
        true
    }

    /// Ends everything at once; waits for no task.
    fn cut(&self) {
        let tasks: Vec<AbortHandle> = {
            let mut state = self.state();
            let left = std::mem::take(&mut state.connections);
            if !matches!(state.phase, Phase::Closed { .. }) {
                let cut = left.values().any(|entry| entry.link.busy.load(Ordering::SeqCst));
                state.phase = Phase::Closed { cut };
            }
            let accept = state.accept.take();
            left.into_values().filter_map(|entry| entry.task).chain(accept).collect()
        };
        tasks.iter().for_each(AbortHandle::abort);
        self.changed.notify_waiters();
    }

    /// Waits for the end of a close; whether all of it was in time.
    pub(crate) async fn closed(&self) -> bool {
        self.until(|state| matches!(state.phase, Phase::Closed { .. })).await;
        self.state().phase == Phase::Closed { cut: false }
    }
}

/// A close that goes on; dropped, also by a runtime that is shut down, it cuts what is left.
struct Closing(Arc<Shared>);

impl Closing {
    async fn finish(self, deadline: Option<Instant>) {
        let shared = &*self.0;
        let mut drained = pin!(shared.until(|state| state.connections.is_empty()));
        let mut timer = shared.clock.timer();
        std::future::poll_fn(|cx| {
            if drained.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            deadline.map_or(Poll::Pending, |deadline| timer.poll_at(deadline, cx))
        })
        .await;
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.cut();
    }
}

/// One running exchange; counted until it is dropped.
pub(crate) struct InFlight {
    shared: Arc<Shared>,
    link: Arc<Link>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.link.running.fetch_sub(1, Ordering::SeqCst);
        self.shared.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A connection's entry; it goes when the connection's task does.
pub(crate) struct Told {
    shared: Arc<Shared>,
    id: u64,
    link: Arc<Link>,
    /// What the link wakes.
    waker: Option<Waker>,
    told: bool,
}

impl Told {
    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Whether the close has come; `true` once. Wakes when it does.
    pub(crate) fn poll_closing(&mut self, cx: &Context<'_>) -> bool {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
            self.link.waker().clone_from(&self.waker);
        }
        let before = std::mem::replace(&mut self.told, self.link.closing.load(Ordering::SeqCst));
        self.told && !before
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let closing = {
            let mut state = self.shared.state();
            state.connections.remove(&self.id);
            state.phase != Phase::Open
        };
        if closing {
            self.shared.changed.notify_waiters();
        }
    }
}

/// The handle of one listening address; dropping it cuts.
pub(crate) struct Serving(pub(crate) Arc<Shared>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.cut();
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving")
            .field("address", &self.0.address)
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Lifecycle for Serving {
    async fn health(&self) -> Health {
        if self.0.state().phase == Phase::Open { Health::Healthy } else { Health::Unhealthy("closed".into()) }
    }

    async fn close(&self, within: Duration) -> Result<()> {
        let begun = self.0.begin_close(self.0.clock.now().checked_add(within));
        let in_time = self.0.closed().await;
        if !begun || in_time { Ok(()) } else { Err(error::cut(within)) }
    }
}

#[async_trait]
impl HttpServing for Serving {
    fn local_addr(&self) -> SocketAddr {
        self.0.address
    }

    fn in_flight(&self) -> u64 {
        self.0.in_flight.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use onex_testkit::clock::ManualClock;

    use super::*;

    #[test]
    fn a_runtime_that_is_shut_down_takes_connections_and_closes_along() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let handle = runtime.handle().clone();
        drop(runtime);
        let _inside = handle.enter();
        let service = onex_testkit::http::handler(|_| std::future::pending());
        let shared = Shared::new(service, Arc::new(ManualClock::new()), ([127, 0, 0, 1], 80).into());
        shared.spawn(|told| async move {
            let _told = told;
            std::future::pending().await
        });
        assert!(shared.state().connections.is_empty());
        assert!(shared.begin_close(None));
        let mut closed = pin!(shared.closed());
        assert_eq!(closed.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(true));
    }
}
