//! A gate that a test opens.

use std::sync::Arc;

use tokio::sync::watch;

/// Holds tasks back until a test opens it; clones are the same gate.
///
/// # Examples
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use onex_testkit::net::Gate;
///
/// let gate = Gate::new();
/// let held = tokio::spawn({ let gate = gate.clone(); async move { gate.wait().await } });
/// gate.until_waiting(1).await;
/// gate.open();
/// held.await.unwrap();
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Gate(Arc<watch::Sender<State>>);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    open: bool,
    /// Those that came to the gate, ever; a count that only rises cannot be missed.
    came: u64,
}

impl Gate {
    /// Makes a closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(State::default())))
    }

    /// Opens the gate for good.
    pub fn open(&self) {
        self.0.send_modify(|state| state.open = true);
    }

    /// Waits until the gate is open.
    ///
    /// # Cancellation
    /// Leaves nothing behind but the count of those that came.
    pub async fn wait(&self) {
        self.0.send_modify(|state| state.came += 1);
        self.until(|state| state.open).await;
    }

    /// Waits until at least `count` tasks came to the gate, ever.
    ///
    /// # Cancellation
    /// Leaves nothing behind.
    pub async fn until_waiting(&self, count: u64) {
        self.until(|state| state.came >= count).await;
    }

    async fn until(&self, reached: impl Fn(&State) -> bool + Send + Sync) {
        // The sender is ours, so the wait cannot end by its loss.
        let _ = self.0.subscribe().wait_for(|state| reached(state)).await;
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}
