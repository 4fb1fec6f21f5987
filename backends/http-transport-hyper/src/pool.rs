//! Connections per origin: idle ones first, then a place to dial, then a turn in the queue.
//!
//! ```text
//!  admit ─┬─ newest idle
//!         ├─ places < cap: a Place to dial for
//!         └─ queue (bounded, in order) ◄── Grant ── a connection that came back │ a place that was left
//! ```
//!
//! A grant that nobody takes any more goes on to the next in the queue: cancelling loses nothing.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use http::{HeaderValue, Uri};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use onex_connect::Connector;
use onex_spi::http::{HttpBody, HttpReason, HttpUrl, PoolStats};
use onex_spi::{Clock, Error, ErrorKind, Result};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;

use crate::Config;
use crate::connection::{Conn, Hyper, Idle};
use crate::error;
use crate::request::canonical;
use crate::state::{Phase, State};
use crate::wire::Wire;

pub(crate) struct Pool {
    connector: Connector,
    http1: Builder,
    cap: usize,
    most_waiting: usize,
    max_idle: usize,
    idle_timeout: Duration,
    connect_timeout: Duration,
    next_id: AtomicU64,
    state: Mutex<State<Grant>>,
    /// A pool that is no longer open lost a place, or was closed.
    changed: Notify,
}

/// What an exchange gets at once.
enum Checkout {
    Granted(Granted),
    Wait(oneshot::Receiver<Grant>),
}

impl Pool {
    pub(crate) fn new(config: &Config, connector: Connector) -> Arc<Self> {
        let mut http1 = Builder::new();
        http1.max_header_size(config.max_head_bytes);
        if config.max_response_headers != Config::HEADERS {
            http1.max_headers(config.max_response_headers);
        }
        Arc::new(Self {
            connector,
            http1,
            cap: config.max_connections_per_origin.get(),
            most_waiting: config.max_waiting_per_origin,
            max_idle: config.max_idle_per_origin,
            idle_timeout: config.idle_timeout,
            connect_timeout: config.connect_timeout,
            next_id: AtomicU64::new(0),
            state: Mutex::new(State::new()),
            changed: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State<Grant>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clock(&self) -> &Arc<dyn Clock> {
        self.connector.clock()
    }

    pub(crate) fn stats(&self) -> PoolStats {
        let dial_errors = self.connector.stats().dial_errors;
        self.state().stats(dial_errors)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state().phase == Phase::Open
    }

    /// Whether a close has ended what ran; an exchange that ends then ends for that reason.
    pub(crate) fn was_cut(&self) -> bool {
        self.state().phase == Phase::Closed { cut: true }
    }

    /// Lets an exchange in; `running` where it had a connection before, so that a close lets it go on.
    ///
    /// Dropping the future gives back what it had got; its place in the queue goes to the next.
    pub(crate) async fn admit(self: &Arc<Self>, uri: &Uri, running: bool) -> Result<Granted> {
        let turn = match self.checkout(uri, running)? {
            Checkout::Granted(granted) => return Ok(granted),
            Checkout::Wait(turn) => turn,
        };
        let granted = turn.await.ok().and_then(Grant::take).ok_or_else(error::closed)?;
        if let Granted::Idle(_) = granted {
            self.state().count_reuse();
        }
        Ok(granted)
    }

    fn checkout(self: &Arc<Self>, uri: &Uri, running: bool) -> Result<Checkout> {
        let authority = canonical(uri);
        let now = self.clock().now();
        let mut state = self.state();
        match state.phase {
            Phase::Open => {}
            Phase::Closing if running => {}
            Phase::Closing | Phase::Closed { .. } => return Err(error::closed()),
        }
        let index = match state.find(&authority) {
            Some(index) => index,
            None => {
                let host = HeaderValue::from_str(&authority).map_err(|error| {
                    Error::invalid("http.exchange", "the URL's authority cannot be sent as a Host header")
                        .with_detail(HttpReason::InvalidUrl)
                        .with_source(error)
                })?;
                state.add(&authority, host)
            }
        };
        if let Some(idle) = state.take_idle(index, now, self.idle_timeout) {
            return Ok(Checkout::Granted(Granted::Idle(idle)));
        }
        if state.take_place(index, self.cap) {
            let place = Place { pool: self.clone(), origin: index };
            return Ok(Checkout::Granted(Granted::Place(place)));
        }
        state.wait(index, self.most_waiting).map(Checkout::Wait).ok_or_else(|| {
            let message = format!(
                "{} connections to {authority} are in use and {} exchanges wait for one; slow down or raise max_connections_per_origin",
                self.cap, self.most_waiting,
            );
            Error::new(ErrorKind::ResourceExhausted, "http.exchange", message)
                .not_applied()
                .with_detail(HttpReason::PoolExhausted)
        })
    }

    /// Connects and shakes hands, unless the pool is closed before; `within` instead of the pool's own time.
    pub(crate) async fn connect(
        &self,
        url: &HttpUrl,
        within: Option<Duration>,
    ) -> Result<(SendRequest<HttpBody>, Hyper)> {
        let within = within.unwrap_or(self.connect_timeout);
        let mut connecting = pin!(self.connector.connect_to(url, Some(within)));
        let mut closed = pin!(self.until_closed());
        let io = poll_fn(|cx| {
            if closed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(error::closed()));
            }
            connecting.as_mut().poll(cx)
        })
        .await?;
        self.http1
            .handshake(TokioIo::new(Wire::new(io)))
            .await
            .map_err(|engine| error::head(engine, false, false).not_applied())
    }

    /// Makes the books of a connection that stands in `place`.
    pub(crate) fn opened(&self, place: &Place) -> Result<Arc<Conn>> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        if matches!(state.phase, Phase::Closed { .. }) {
            return Err(error::closed());
        }
        let origin = place.origin;
        let host = state.origin(origin).map(|origin| origin.host.clone()).ok_or_else(error::closed)?;
        state.opened(id, origin);
        Ok(Arc::new(Conn::new(id, host)))
    }

    /// The task of a connection runs; where the pool was closed meanwhile, it is ended.
    pub(crate) fn started(&self, id: u64, task: AbortHandle) {
        let mut state = self.state();
        if matches!(state.phase, Phase::Closed { .. }) {
            drop(state);
            task.abort();
        } else {
            state.started(id, task);
        }
    }

    /// A connection came back: to the first in the queue, else to the idle ones.
    pub(crate) fn keep(self: &Arc<Self>, conn: Arc<Conn>, sender: SendRequest<HttpBody>) {
        let now = self.clock().now();
        let mut state = self.state();
        // Without an entry the task has ended meanwhile; with one, its origin's books stay.
        let Some(origin) = state.entry(conn.id).map(|entry| entry.origin) else { return };
        let waiter = state.next_waiter(origin);
        let idle = Idle::new(conn, sender, now);
        if let Some(waiter) = waiter {
            drop(state);
            // Where the waiter went away just now, the grant's drop brings the connection back here.
            drop(waiter.send(Grant::new(self, Granted::Idle(idle))));
            return;
        }
        if state.phase != Phase::Open || self.max_idle == 0 {
            return state.retire(idle);
        }
        let runtime = idle.conn.runtime.clone();
        let Some(books) = state.origin(origin) else { return };
        books.idle.push_back(idle);
        if books.idle.len() > self.max_idle
            && let Some(oldest) = books.idle.pop_front()
        {
            state.retire(oldest);
        }
        // One whose runtime was shut down has ended; this one's may live.
        let reaps = state.reaper.as_ref().is_some_and(|reaper| !reaper.is_finished());
        if !reaps && now.checked_add(self.idle_timeout).is_some() {
            state.reaper = Some(self.start_reaper(&runtime));
        }
    }

    /// One task closes what has been idle too long; it ends when nothing is idle, and with the pool.
    fn start_reaper(self: &Arc<Self>, runtime: &Handle) -> AbortHandle {
        let (pool, clock) = (Arc::downgrade(self), self.clock().clone());
        let reap = async move {
            while let Some(next) = pool.upgrade().and_then(|pool| pool.expire()) {
                clock.sleep_until(next).await;
            }
        };
        runtime.spawn(reap).abort_handle()
    }

    fn expire(&self) -> Option<Instant> {
        let now = self.clock().now();
        let mut state = self.state();
        let next = state.expire(now, self.idle_timeout);
        if next.is_none() {
            state.reaper = None;
        }
        next
    }

    /// Ends a connection whose exchange was given up.
    pub(crate) fn cut(&self, id: u64) {
        let task = {
            let mut state = self.state();
            state.retire_id(id);
            state.entry(id).and_then(|entry| entry.task.clone())
        };
        if let Some(task) = task {
            task.abort();
        }
    }

    /// A connection whose answer is complete ends by itself.
    pub(crate) fn retired(&self, id: u64) {
        self.state().retire_id(id);
    }

    pub(crate) fn ended(&self, id: u64) {
        self.state().ended(id);
    }

    fn leave(self: &Arc<Self>, origin: usize) {
        let mut state = self.state();
        if let Some(waiter) = state.next_waiter(origin) {
            drop(state);
            // Where the waiter went away just now, the place's drop comes back here.
            let place = Place { pool: self.clone(), origin };
            drop(waiter.send(Grant::new(self, Granted::Place(place))));
            return;
        }
        state.leave_place(origin);
        if state.phase != Phase::Open {
            drop(state);
            self.changed.notify_waiters();
        }
    }

    /// Lets go of everything idle; running bodies may be read to their end.
    pub(crate) fn abandon(&self) {
        let mut state = self.state();
        if state.phase == Phase::Open {
            state.phase = Phase::Closing;
        }
        state.retire_all();
    }

    /// Ends the pool: running exchanges get up to `within`; `false` where some had to be cut.
    ///
    /// A task does the work, so that it goes on where this future is dropped.
    pub(crate) async fn close(self: &Arc<Self>, within: Duration) -> bool {
        let deadline = self.clock().now().checked_add(within);
        let before = {
            let mut state = self.state();
            let before = state.phase;
            if before == Phase::Open {
                state.phase = Phase::Closing;
                state.retire_all();
            }
            before
        };
        if before == Phase::Open {
            tokio::spawn(Closing(self.clone()).finish(deadline));
        }
        self.until(|state| matches!(state.phase, Phase::Closed { .. }) && !state.has_connections()).await;
        matches!(before, Phase::Closed { .. }) || !self.was_cut()
    }

    /// Ends what is left of the pool.
    fn end(&self) {
        let (cut, (tasks, queues)) = {
            let mut state = self.state();
            let cut = state.is_busy();
            state.phase = Phase::Closed { cut };
            (cut, state.take_rest())
        };
        if cut {
            tracing::debug!(connections = tasks.len(), "closed with exchanges running, cut");
        }
        tasks.iter().for_each(AbortHandle::abort);
        drop(queues);
        self.changed.notify_waiters();
    }

    async fn until_closed(&self) {
        self.until(|state| matches!(state.phase, Phase::Closed { .. })).await;
    }

    async fn until(&self, reached: impl Fn(&State<Grant>) -> bool) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if reached(&self.state()) {
                return;
            }
            changed.await;
        }
    }
}

/// A close that goes on; dropped, also by a runtime that is shut down, it ends what is left.
struct Closing(Arc<Pool>);

impl Closing {
    async fn finish(self, deadline: Option<Instant>) {
        let mut drained = pin!(self.0.until(|state| !state.has_places()));
        let mut timer = self.0.clock().timer();
        poll_fn(|cx| {
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
        self.0.end();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// The right to one connection to an origin; left when it is dropped.
pub(crate) struct Place {
    pool: Arc<Pool>,
    origin: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.pool.leave(self.origin);
    }
}

/// What an exchange was let in with.
pub(crate) enum Granted {
    Idle(Idle),
    Place(Place),
}

/// What the first in the queue gets; dropped untaken it goes on to the next.
struct Grant {
    pool: Arc<Pool>,
    granted: Option<Granted>,
}

impl Grant {
    fn new(pool: &Arc<Pool>, granted: Granted) -> Self {
        Self { pool: pool.clone(), granted: Some(granted) }
    }

    fn take(mut self) -> Option<Granted> {
        self.granted.take()
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let Some(Granted::Idle(idle)) = self.granted.take() {
            self.pool.keep(idle.conn, idle.sender);
        }
    }
}
