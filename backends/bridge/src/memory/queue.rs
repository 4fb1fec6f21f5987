//! One bounded queue.

use std::collections::VecDeque;
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use onex_spi::bridge::BridgeMessage;
use onex_spi::{Error, ErrorKind, Result};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// A handle to a queue; clones share it.
#[derive(Clone)]
pub struct MemoryQueue(Arc<Shared>);

struct Shared {
    name: Arc<str>,
    capacity: usize,
    state: Mutex<State>,
    filled: Notify,
    emptied: Notify,
}

#[derive(Default)]
struct State {
    messages: VecDeque<BridgeMessage>,
    closed: bool,
    discarded: u64,
}

impl MemoryQueue {
    pub(super) fn new(name: Arc<str>, capacity: usize) -> Self {
        Self(Arc::new(Shared {
            name,
            capacity: capacity.max(1),
            state: Mutex::default(),
            filled: Notify::new(),
            emptied: Notify::new(),
        }))
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The messages in the queue.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state().messages.len()
    }

    /// Whether the queue is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The messages that a bridge took from here, could not deliver and was told to discard.
    #[must_use]
    pub fn discarded(&self) -> u64 {
        self.state().discarded
    }

    /// Puts a message at the end, and waits for room before.
    ///
    /// # Errors
    /// `Closed` after [`close`](Self::close).
    /// # Cancellation
    /// The message is in the queue or not.
    pub async fn offer(&self, message: BridgeMessage) -> Result<()> {
        self.offer_all(std::slice::from_ref(&message)).await
    }

    /// Puts messages at the end, in order, and waits for room wherever there is none.
    ///
    /// # Errors
    /// `Closed` after [`close`](Self::close); some of the messages may be in the queue.
    /// # Cancellation
    /// The first ones are in the queue, the others not.
    pub async fn offer_all(&self, messages: &[BridgeMessage]) -> Result<()> {
        if self.put(messages).await < messages.len() {
            return Err(self.closed());
        }
        Ok(())
    }

    /// Puts a message at the end without waiting.
    ///
    /// # Errors
    /// `ResourceExhausted` where there is no room, `Closed` after [`close`](Self::close).
    pub fn try_offer(&self, message: BridgeMessage) -> Result<()> {
        match self.put_now(std::slice::from_ref(&message)) {
            None => Err(self.closed()),
            Some(0) => {
                let (name, capacity) = (self.name(), self.0.capacity);
                let text = format!("the queue `{name}` holds {capacity} messages; take some first");
                Err(Error::new(ErrorKind::ResourceExhausted, "memory.offer", text).not_applied())
            }
            Some(_) => Ok(()),
        }
    }

    /// Waits for the first message and takes it; `None` once the queue is closed and empty.
    ///
    /// # Cancellation
    /// Takes nothing.
    pub async fn take(&self) -> Option<BridgeMessage> {
        let mut one = None;
        loop {
            let mut filled = pin!(self.filled());
            filled.as_mut().enable();
            if self.take_now(1, |message| one = Some(message)).is_some() {
                return one;
            }
            filled.await;
        }
    }

    /// Takes what is there, up to `most` messages, without waiting.
    pub fn try_take(&self, most: usize) -> Vec<BridgeMessage> {
        let mut taken = Vec::new();
        self.take_now(most, |message| taken.push(message));
        taken
    }

    /// Ends the queue: nothing more can be put into it, and what is in it can be taken.
    pub fn close(&self) {
        self.state().closed = true;
        self.0.filled.notify_waiters();
        self.0.emptied.notify_waiters();
    }

    /// Puts messages, waiting for room wherever there is none; answers how many, which is fewer than all where the queue ended.
    pub(super) async fn put(&self, messages: &[BridgeMessage]) -> usize {
        let mut put = self.put_now(messages).unwrap_or_default();
        while put < messages.len() {
            let mut emptied = pin!(self.0.emptied.notified());
            emptied.as_mut().enable();
            match self.put_now(&messages[put..]) {
                None => break,
                Some(0) => emptied.await,
                Some(some) => put += some,
            }
        }
        put
    }

    /// Puts as many messages as there is room for; `None` where the queue is closed.
    fn put_now(&self, messages: &[BridgeMessage]) -> Option<usize> {
        let mut state = self.state();
        if state.closed {
            return None;
        }
        let room = self.0.capacity.saturating_sub(state.messages.len()).min(messages.len());
        state.messages.extend(messages[..room].iter().cloned());
        drop(state);
        if room > 0 {
            self.0.filled.notify_waiters();
        }
        Some(room)
    }

    /// Completes at the next change after which there may be something to take.
    pub(super) fn filled(&self) -> Notified<'_> {
        self.0.filled.notified()
    }

    /// Takes what is there; `None` where there is nothing yet, 0 once the queue is closed and empty.
    pub(super) fn take_now(&self, most: usize, into: impl FnMut(BridgeMessage)) -> Option<usize> {
        let mut state = self.state();
        let taken = state.messages.len().min(most);
        let ended = state.closed && taken == 0 && state.messages.is_empty();
        state.messages.drain(..taken).for_each(into);
        drop(state);
        if taken > 0 {
            self.0.emptied.notify_waiters();
        }
        (taken > 0 || ended).then_some(taken)
    }

    fn closed(&self) -> Error {
        Error::closed("memory.offer", format_args!("the queue `{}`", self.name()))
    }

    /// Puts messages that could not be delivered back at the end, above the capacity where it must be: they were in it.
    pub(super) fn requeue(&self, messages: impl IntoIterator<Item = BridgeMessage>) {
        self.state().messages.extend(messages);
        self.0.filled.notify_waiters();
    }

    pub(super) fn discard(&self, messages: u64) {
        self.state().discarded += messages;
    }

    pub(super) fn missing(name: &str, known: &[Arc<str>]) -> Error {
        let known = known.join("`, `");
        let message = format!("there is no queue `{name}`; create it in the hub, or name one of `{known}`");
        Error::new(ErrorKind::NotFound, "memory.queue", message).not_applied()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryQueue")
            .field("name", &self.0.name)
            .field("capacity", &self.0.capacity)
            .field("len", &self.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use onex_spi::bridge::MessageId;

    use super::*;

    fn message(n: u128) -> BridgeMessage {
        BridgeMessage::new(MessageId::from_u128(n), "{}")
    }

    #[tokio::test]
    async fn a_full_queue_waits_and_keeps_the_order() {
        let queue = MemoryQueue::new("q".into(), 2);
        let filler = tokio::spawn({
            let queue = queue.clone();
            let messages: Vec<_> = (0..100).map(message).collect();
            async move { queue.put(&messages).await }
        });
        for n in 0..100 {
            assert_eq!(queue.take().await.map(|taken| taken.id.as_u128()), Some(n));
            assert!(queue.len() <= 2);
        }
        assert_eq!(filler.await.expect("no panic"), 100);
    }

    #[tokio::test]
    async fn a_closed_queue_gives_out_what_it_has() {
        let queue = MemoryQueue::new("q".into(), 2);
        queue.offer(message(1)).await.expect("open");
        queue.close();
        assert_eq!(queue.offer(message(2)).await.map_err(|error| error.kind()), Err(ErrorKind::Closed));
        assert!(queue.take().await.is_some());
        assert!(queue.take().await.is_none());
    }

    #[tokio::test]
    async fn a_waiting_offer_ends_with_the_queue() {
        let queue = MemoryQueue::new("q".into(), 1);
        queue.offer(message(1)).await.expect("open");
        let waiting = queue.offer(message(2));
        let (offered, ()) = tokio::join!(waiting, async { queue.close() });
        assert_eq!(offered.map_err(|error| error.kind()), Err(ErrorKind::Closed));
        assert_eq!(queue.len(), 1);
    }
}
