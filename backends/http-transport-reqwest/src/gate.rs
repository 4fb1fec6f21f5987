//! The transport's door: who is inside, who may still enter, when the rest is cut.

use std::time::Duration;

use onex_spi::{Clock, Error, ErrorKind, Result};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Counts what runs, lets it end after `close`, cuts what is left.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate {
    inside: TaskTracker,
    cut: CancellationToken,
}

impl Gate {
    /// Enters, or is told that the transport is closed.
    pub(crate) fn enter(&self, operation: &'static str) -> Result<Pass> {
        // Counted before looking, so that a close that begins now waits for this one.
        let pass = Pass { cut: self.cut.clone(), _inside: self.inside.token() };
        if self.is_closed() {
            return Err(Error::closed(operation, "the transport"));
        }
        Ok(pass)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.inside.is_closed()
    }

    pub(crate) fn running(&self) -> u64 {
        self.inside.len() as u64
    }

    /// Refuses newcomers, waits for those inside, cuts them at `within`.
    pub(crate) async fn close(
        &self,
        clock: &dyn Clock,
        within: Duration,
        operation: &'static str,
    ) -> Result<()> {
        self.inside.close();
        if self.cut.is_cancelled() {
            return Ok(());
        }
        let late = async {
            match clock.now().checked_add(within) {
                Some(deadline) => clock.sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.inside.wait() => Ok(()),
            () = self.cut.cancelled() => Ok(()),
            () = late => {
                let left = self.running();
                self.cut.cancel();
                let message = format!("{left} exchanges were cut after {within:?}; the transport is closed");
                Err(Error::new(ErrorKind::TimedOut, operation, message))
            }
        }
    }
}

/// The right to run; dropping it leaves.
#[derive(Debug)]
pub(crate) struct Pass {
    cut: CancellationToken,
    _inside: TaskTrackerToken,
}

impl Pass {
    /// Completes when what runs is cut.
    pub(crate) fn cut(&self) -> WaitForCancellationFuture<'_> {
        self.cut.cancelled()
    }

    /// As [`cut`](Pass::cut), to be kept.
    pub(crate) fn cut_owned(&self) -> WaitForCancellationFutureOwned {
        self.cut.clone().cancelled_owned()
    }
}
