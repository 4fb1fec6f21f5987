//! The task that drives hyper on one connection.
//!
//! ```text
//!   Lease ── request ─► SendRequest ─► Driver (hyper's connection over Wire, one task)
//!     │ answer read to its end                     │ ready for the next request ─► idle
//!     └─► Slot ── wakes ──────────────────────────►│ not ready after one more turn: the request is
//!     │ dropped before                             │ not fully sent, nobody waits for it ─► ends
//!     └─► task aborted: the peer sees the close
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::connection::{Conn, Hyper};
use crate::pool::{Place, Pool};

/// The task of one connection; the stream is closed before the books say so, and the place freed last.
pub(crate) struct Driver {
    hyper: Hyper,
    ended: Ended,
    _place: Place,
}

impl Driver {
    pub(crate) fn new(hyper: Hyper, pool: Arc<Pool>, conn: Arc<Conn>, place: Place) -> Self {
        Self { hyper, ended: Ended { pool, conn }, _place: place }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let returned_before = {
            let mut slot = self.ended.conn.slot();
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
        let Ended { pool, conn } = &self.ended;
        let mut slot = conn.slot();
        match slot.returning.take() {
            None => Poll::Pending,
            Some(sender) if sender.is_ready() => {
                drop(slot);
                pool.keep(conn.clone(), sender);
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

struct Ended {
    pool: Arc<Pool>,
    conn: Arc<Conn>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.conn.slot().returning = None;
        self.pool.ended(self.conn.id);
    }
}
