//! What everything shares that owns tasks, sockets or state.

use std::time::Duration;

use async_trait::async_trait;

use crate::Result;

/// How a port is doing.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Works.
    Healthy,
    /// Works in part; the text says which part does not.
    Degraded(String),
    /// Does not work; the text says why.
    Unhealthy(String),
}

/// The supertrait of every port that owns tasks or sockets.
///
/// Dropping the last handle never blocks and never leaks a task.
#[async_trait]
pub trait Lifecycle: std::fmt::Debug + Send + Sync + 'static {
    /// Looks whether the thing works now; never longer than a few seconds.
    ///
    /// # Cancellation
    /// Leaves nothing behind.
    async fn health(&self) -> Health;

    /// Ends the thing: new calls answer `Closed`, running work gets up to `within` to finish.
    ///
    /// Closing again is `Ok`.
    ///
    /// # Errors
    /// `TimedOut` where work was cut off at `within`; the thing is closed all the same.
    /// # Cancellation
    /// The close goes on behind; calling again waits for it.
    async fn close(&self, within: Duration) -> Result<()>;
}

const _: fn(&dyn Lifecycle) = |_| ();
