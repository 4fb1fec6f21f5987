//! The lease of one exchange on a connection: from the pool or newly dialled, and back.
//!
//! ```text
//!  acquire ─► Pool::admit ─┬─ an idle connection ──────────────────────────────► Lease ─ finish ─► back to the pool
//!                          └─ a Place ─► dial ─► Driver, a task of its own ────►   │
//!                                                                                  └ dropped before ─► the task is ended
//! ```

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::SendRequest;
use onex_spi::Result;
use onex_spi::http::{HttpBody, HttpUrl};

use crate::connection::{Conn, Idle};
use crate::driver::Driver;
use crate::pool::{Granted, Place, Pool};

/// One exchange on a connection; dropped before [`finish`](Lease::finish) it ends the connection.
pub(crate) struct Lease {
    sender: SendRequest<HttpBody>,
    guard: Guard,
    /// Whether the connection had carried an earlier exchange.
    pub(crate) reused: bool,
}

impl Lease {
    /// Gets a connection for one exchange; `running` where the exchange had one before, so that a close lets it go on.
    ///
    /// Dropping the future gives back what it had got; its place in the queue goes to the next.
    pub(crate) async fn acquire(
        pool: &Arc<Pool>,
        url: &HttpUrl,
        connect: Option<Duration>,
        running: bool,
    ) -> Result<Self> {
        match pool.admit(url.uri(), running).await? {
            Granted::Idle(Idle { conn, sender, .. }) => Ok(Self::new(pool, conn, sender, true)),
            // Boxed, because it is rare and would make every exchange's future larger.
            Granted::Place(place) => Box::pin(Self::dial(pool, place, url, connect)).await,
        }
    }

    async fn dial(pool: &Arc<Pool>, place: Place, url: &HttpUrl, connect: Option<Duration>) -> Result<Self> {
        let (sender, hyper) = pool.connect(url, connect).await?;
        let conn = pool.opened(&place)?;
        // Outside the lock: a runtime that is being shut down drops the task, and with it the entry, in this call.
        let task = tokio::spawn(Driver::new(hyper, pool.clone(), conn.clone(), place)).abort_handle();
        pool.started(conn.id, task);
        Ok(Self::new(pool, conn, sender, false))
    }

    fn new(pool: &Arc<Pool>, conn: Arc<Conn>, sender: SendRequest<HttpBody>, reused: bool) -> Self {
        Self { sender, guard: Guard { pool: pool.clone(), conn, armed: true }, reused }
    }

    /// What the `Host` header says.
    pub(crate) fn host(&self) -> &HeaderValue {
        &self.guard.conn.host
    }

    /// Whether a close has ended what ran.
    pub(crate) fn was_cut(&self) -> bool {
        self.guard.pool.was_cut()
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
        let Guard { pool, conn, .. } = &guard;
        if sender.is_ready() {
            return pool.keep(conn.clone(), sender);
        }
        if sender.is_closed() {
            return pool.retired(conn.id);
        }
        let driver = {
            let mut slot = conn.slot();
            // The driver may have become ready since; it looks only before and after its turns.
            if sender.is_ready() {
                drop(slot);
                return pool.keep(conn.clone(), sender);
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
    pool: Arc<Pool>,
    conn: Arc<Conn>,
    armed: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.armed {
            self.pool.cut(self.conn.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use onex_connect::Connector;
    use onex_testkit::clock::ManualClock;
    use onex_testkit::net::{MemoryNet, Script};

    use super::*;
    use crate::Config;

    #[test]
    fn a_runtime_that_is_shut_down_takes_connections_and_closes_along() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let handle = runtime.handle().clone();
        drop(runtime);
        let _inside = handle.enter();
        let net = Arc::new(MemoryNet::new());
        net.serve(([10, 0, 0, 1], 80).into(), Script::new());
        let connector = Connector::new(net.clone(), net, Arc::new(ManualClock::new()));
        let pool = Pool::new(&Config::default(), connector);
        let url = HttpUrl::try_from("http://10.0.0.1/").expect("a URL");
        let mut cx = Context::from_waker(Waker::noop());
        let mut acquiring = Box::pin(Lease::acquire(&pool, &url, None, false));
        assert!(acquiring.as_mut().poll(&mut cx).is_ready());
        drop(acquiring);
        let stats = pool.stats();
        assert_eq!((stats.open, stats.opened, stats.closed), (Some(0), Some(1), Some(1)));
        let mut closing = pin!(pool.close(Duration::MAX));
        assert_eq!(closing.as_mut().poll(&mut cx), Poll::Ready(true));
    }
}
