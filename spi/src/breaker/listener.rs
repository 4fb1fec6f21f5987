//! Who is told of changes of state.

use super::Transition;

/// Is told of every change of state of every circuit of a breaker (R14).
///
/// It is called outside every lock of the breaker, one call at a time, and for each circuit in the order of the changes; it may
/// call the breaker, also to change a state again. It runs on the thread whose call made the change, or made one just before, so it
/// should hand work on instead of doing it. A panic is traced and ends nothing else.
pub trait CircuitListener: Send + Sync + 'static {
    /// Takes one change; a `sequence` that leaves out numbers says how many were lost, because listeners were too slow.
    fn changed(&self, circuit: &str, transition: &Transition);
}

const _: fn(&dyn CircuitListener) = |_| ();
