//! One connection: the task that drives hyper, and the lease of one exchange on it.
//!
//! ```text
//!   Lease ── request ─► SendRequest ─► Driver (hyper's connection over Wire, one task)
//!     │ answer read to its end                     │ ready for the next request ─► idle
//!     └─► Slot ── wakes ──────────────────────────►│ not ready after one more turn: the request is
//!     │ dropped before                             │ not fully sent, nobody waits for it ─► ends
//!     └─► task aborted: the peer sees the close
//! ```

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Connection, SendRequest};
use hyper_util::rt::TokioIo;
use onex_spi::http::HttpBody;
use tokio::runtime::Handle;

use crate::pool::{Place, Pool};
use crate::wire::Wire;

/// What lease, pool and driver share of one connection.
pub(crate) struct Conn {
    pub(crate) id: u64,
    pub(crate) pool: Arc<Pool>,
    pub(crate) host: HeaderValue,
    /// Where the connection was made, so that bodies read outside a runtime can still give it back.
    pub(crate) runtime: Handle,
    slot: Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    /// An answer is complete, the driver decides whether the connection goes on.
    returning: Option<SendRequest<HttpBody>>,
    driver: Option<Waker>,
}

impl Conn {
    pub(crate) fn new(id: u64, pool: Arc<Pool>, host: HeaderValue) -> Self {
        Self { id, pool, host, runtime: Handle::current(), slot: Mutex::default() }
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that waits for its next exchange.
pub(crate) struct Idle {
    pub(crate) conn: Arc<Conn>,
    sender: SendRequest<HttpBody>,
    since: Instant,
}

impl Idle {
    pub(crate) fn new(conn: Arc<Conn>, sender: SendRequest<HttpBody>, since: Instant) -> Self {
        Self { conn, sender, since }
    }

    pub(crate) fn id(&self) -> u64 {
        self.conn.id
    }

    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    pub(crate) fn is_fresh(&self, now: Instant, timeout: Duration) -> bool {
        now.saturating_duration_since(self.since) < timeout && self.sender.is_ready()
    }

    pub(crate) fn lease(self) -> Lease {
        Lease::new(self.conn, self.sender, true)
    }

    pub(crate) fn give_back(self) {
        self.conn.pool.clone().keep(self.conn, self.sender);
    }
}

/// One exchange on a connection; dropped before [`finish`](Lease::finish) it ends the connection.
pub(crate) struct Lease {
    sender: SendRequest<HttpBody>,
    guard: Guard,
    /// Whether the connection had carried an earlier exchange.
    pub(crate) reused: bool,
}

impl Lease {
    pub(crate) fn new(conn: Arc<Conn>, sender: SendRequest<HttpBody>, reused: bool) -> Self {
        Self { sender, guard: Guard { conn, armed: true }, reused }
    }

    pub(crate) fn conn(&self) -> &Conn {
        &self.guard.conn
    }

    pub(crate) fn send(
        &mut self,
        request: Request<HttpBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<HttpBody>>>> + use<> {
        self.sender.try_send_request(request)
    }

    /// The answer is complete: the connection may carry the next exchange.
    pub(crate) fn finish(self) {
        let Self { sender, mut guard, .. } = self;
        guard.armed = false;
        let conn = guard.conn.clone();
        if sender.is_ready() {
            return conn.pool.clone().keep(conn, sender);
        }
        if sender.is_closed() {
            return conn.pool.retired(conn.id);
        }
        let driver = {
            let mut slot = conn.slot();
            // The driver may have become ready since; it looks only before and after its turns.
            if sender.is_ready() {
                drop(slot);
                return conn.pool.clone().keep(conn, sender);
            }
            slot.returning = Some(sender);
            slot.driver.take()
        };
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

/// Ends the connection unless the answer was read to its end.
struct Guard {
    conn: Arc<Conn>,
    armed: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.armed {
            self.conn.pool.cut(self.conn.id);
        }
    }
}

/// The task of one connection; the stream is closed before the books say so, and the place freed last.
pub(crate) struct Driver {
    hyper: Connection<TokioIo<Wire>, HttpBody>,
    ended: Ended,
    _place: Place,
}

impl Driver {
    pub(crate) fn new(hyper: Connection<TokioIo<Wire>, HttpBody>, conn: Arc<Conn>, place: Place) -> Self {
        Self { hyper, ended: Ended(conn), _place: place }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let returned_before = {
            let mut slot = self.ended.0.slot();
            if !slot.driver.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                slot.driver = Some(cx.waker().clone());
            }
            slot.returning.is_some()
        };
        if let Poll::Ready(end) = Pin::new(&mut self.hyper).poll(cx) {
            if let Err(error) = end {
                tracing::debug!(%error, "connection ended");
            }
            return Poll::Ready(());
        }
        let conn = &self.ended.0;
        let mut slot = conn.slot();
        match slot.returning.take() {
            None => Poll::Pending,
            Some(sender) if sender.is_ready() => {
                drop(slot);
                conn.pool.clone().keep(conn.clone(), sender);
                Poll::Pending
            }
            // A whole turn after the answer's end the request is still being sent; see the module.
            Some(_) if returned_before => Poll::Ready(()),
            Some(sender) => {
                slot.returning = Some(sender);
                Poll::Pending
            }
        }
    }
}

struct Ended(Arc<Conn>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.slot().returning = None;
        self.0.pool.ended(self.0.id);
    }
}
