//! The door of everything here that closes: who is inside, who may still enter, when the rest is cut.

use std::time::Duration;

use onex_spi::{Clock, Error, ErrorKind, Result};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Counts what runs, lets it end after `close`, cuts what is left.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate {
    inside: TaskTracker,
    cut: CancellationToken,
}

impl Gate {
    /// Enters, or is told that `what` is closed.
    pub(super) fn enter(&self, operation: &'static str, what: &str) -> Result<Pass> {
        // Counted before looking, so that a close that begins now waits for this one.
        let pass = Pass { cut: self.cut.clone(), _inside: self.inside.token() };
        if self.is_closed() {
            return Err(Error::closed(operation, what));
        }
        Ok(pass)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.inside.is_closed()
    }

    pub(super) fn running(&self) -> u64 {
        self.inside.len() as u64
    }

    /// Ends what runs, at once.
    pub(super) fn cut(&self) {
        self.inside.close();
        self.cut.cancel();
    }

    /// Refuses newcomers, waits for those inside, cuts them at `within`.
    pub(super) async fn close(
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
                let message = format!("{left} exchanges were cut after {within:?}; everything is closed");
                Err(Error::new(ErrorKind::TimedOut, operation, message))
            }
        }
    }
}

/// The right to run; dropping it leaves.
#[derive(Debug)]
pub(super) struct Pass {
    cut: CancellationToken,
    _inside: TaskTrackerToken,
}

impl Pass {
    /// Completes when what runs is cut.
    pub(super) fn cut(&self) -> WaitForCancellationFuture<'_> {
        self.cut.cancelled()
    }

    /// As [`cut`](Pass::cut), to be kept.
    pub(super) fn cut_owned(&self) -> WaitForCancellationFutureOwned {
        self.cut.clone().cancelled_owned()
    }
}
