//! What reaches the lane of a bridge from other tasks: messages of callers, and the word to end.
//!
//! ```text
//!  send ─► Waiting { message, answer } ─► lane takes it, room permitting ─► .. ─► answer
//!     └ dropped before that: the entry goes with it, nothing happened
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use onex_spi::bridge::{BridgeMessage, BridgeReceipt};
use onex_spi::{Error, Result};
use tokio::sync::oneshot;

pub(crate) type Answer = oneshot::Sender<Result<BridgeReceipt>>;

/// The callers that wait to be taken, in order, and how far the end is.
#[derive(Debug, Default)]
pub(crate) struct Inbox(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: BTreeMap<u64, (BridgeMessage, Answer)>,
    last: u64,
    ending: Ending,
    lane: Option<Waker>,
}

/// How far the end of a bridge is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    #[default]
    No,
    /// Nothing new; what was taken is settled.
    Drain,
    /// What is not settled now is failed.
    Cut,
}

/// What the lane finds.
pub(crate) struct Found {
    pub(crate) ending: Ending,
    pub(crate) waiting: usize,
}

impl Inbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a message and waits for its end.
    ///
    /// Cancellation: a message that was not taken yet goes with the future.
    pub(crate) async fn send(
        self: &Arc<Self>,
        message: BridgeMessage,
        closed: impl Fn() -> Error,
    ) -> Result<BridgeReceipt> {
        let (answer, answered) = oneshot::channel();
        let (number, lane) = {
            let mut state = self.state();
            if state.ending != Ending::No {
                return Err(closed());
            }
            state.last += 1;
            let number = state.last;
            state.waiting.insert(number, (message, answer));
            (number, state.lane.take())
        };
        let entry = WaitingEntry { inbox: self, number };
        lane.into_iter().for_each(Waker::wake);
        let outcome = answered.await;
        drop(entry);
        // A lane that ended without an answer was cut off with its runtime or engine.
        outcome.unwrap_or_else(|_| Err(closed().with_effect(onex_spi::Effect::Unknown)))
    }

    /// Ends the bridge, or hurries its end.
    pub(crate) fn end(&self, ending: Ending) {
        let lane = {
            let mut state = self.state();
            state.ending = state.ending.max(ending);
            state.lane.take()
        };
        lane.into_iter().for_each(Waker::wake);
    }

    /// Looks what is there; the lane is woken by whatever comes later.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Found {
        let mut state = self.state();
        match &mut state.lane {
            Some(lane) => lane.clone_from(cx.waker()),
            lane @ None => *lane = Some(cx.waker().clone()),
        }
        Found { ending: state.ending, waiting: state.waiting.len() }
    }

    /// Takes up to `most` callers' messages, the longest waiting first; answers how many are left.
    pub(crate) fn take(&self, most: usize, mut into: impl FnMut(BridgeMessage, Answer)) -> usize {
        let mut state = self.state();
        for _ in 0..most {
            let Some((_, (message, answer))) = state.waiting.pop_first() else { break };
            into(message, answer);
        }
        state.waiting.len()
    }

    /// Answers every caller that was not taken with `error`: for them nothing happened.
    pub(crate) fn refuse_all(&self, error: impl Fn() -> Error) {
        let waiting = std::mem::take(&mut self.state().waiting);
        for (_, answer) in waiting.into_values() {
            // A caller that left meanwhile needs no answer.
            let _ = answer.send(Err(error()));
        }
    }

    /// The callers that wait; for tests.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.state().waiting.len()
    }
}

/// Removes the entry of a caller that left before it was taken.
struct WaitingEntry<'a> {
    inbox: &'a Inbox,
    number: u64,
}

impl Drop for WaitingEntry<'_> {
    fn drop(&mut self) {
        // Taken out first, so that the message is not dropped under the lock.
        let removed = self.inbox.state().waiting.remove(&self.number);
        drop(removed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use onex_spi::bridge::MessageId;

    use super::*;

    #[tokio::test]
    async fn a_caller_that_leaves_takes_its_entry_along() {
        let inbox = Arc::new(Inbox::default());
        let closed = || Error::closed("bridge.send", "bridge 1");
        let message = || BridgeMessage::new(MessageId::from_u128(1), "x");
        for _ in 0..1_000 {
            let mut send = Box::pin(inbox.send(message(), closed));
            assert!((&mut send).now_or_never().is_none());
            assert_eq!(inbox.waiting(), 1);
            drop(send);
            assert_eq!(inbox.waiting(), 0);
        }
        let mut send = Box::pin(inbox.send(message(), closed));
        assert!((&mut send).now_or_never().is_none());
        let mut taken = Vec::new();
        assert_eq!(inbox.take(9, |message, answer| taken.push((message, answer))), 0);
        drop(send);
        assert!(taken.pop().expect("taken before it left").1.is_closed());
        inbox.end(Ending::Drain);
        assert!(inbox.send(message(), closed).await.is_err());
    }
}
