//! One connection as lease, pool and driver share it, and as it stands while it waits for its next exchange.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use http::HeaderValue;
use hyper::client::conn::http1::{Connection, SendRequest};
use hyper_util::rt::TokioIo;
use onex_spi::http::HttpBody;
use tokio::runtime::Handle;

use crate::wire::Wire;

/// hyper's half of a connection, which somebody must poll.
pub(crate) type Hyper = Connection<TokioIo<Wire>, HttpBody>;

/// What lease, pool and driver share of one connection.
pub(crate) struct Conn {
    pub(crate) id: u64,
    pub(crate) host: HeaderValue,
    /// Where the connection was made, so that bodies read outside a runtime can still give it back.
    pub(crate) runtime: Handle,
    slot: Mutex<Slot>,
}

/// Where a lease leaves a connection that is not ready for its next exchange yet.
#[derive(Default)]
pub(crate) struct Slot {
    /// An answer is complete, the driver decides whether the connection goes on.
    pub(crate) returning: Option<SendRequest<HttpBody>>,
    pub(crate) driver: Option<Waker>,
}

impl Conn {
    pub(crate) fn new(id: u64, host: HeaderValue) -> Self {
        Self { id, host, runtime: Handle::current(), slot: Mutex::default() }
    }

    pub(crate) fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that waits for its next exchange.
pub(crate) struct Idle {
    pub(crate) conn: Arc<Conn>,
    pub(crate) sender: SendRequest<HttpBody>,
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
}
