//! What becomes of messages that are looked at together: those of one take, or of one answered delivery.

use std::time::Instant;

use onex_spi::bridge::{BridgeMessage, BridgeReceipt, Disposition, Settled};
use onex_spi::{Error, Result};

use crate::books::Entry;
use crate::held::{Groups, Held, Owner};
use crate::inbox::Answer;

/// What becomes of the messages of one batch: those that go on, and those at their end, to be told after the books know.
pub(crate) struct Batch {
    pub(crate) now: Instant,
    /// What goes on.
    pub(crate) groups: Groups,
    /// What the books are told of those at their end.
    pub(crate) entry: Entry,
    pub(crate) settled: Vec<Settled>,
    pub(crate) answers: Vec<(Answer, Result<BridgeReceipt>)>,
    pub(crate) rule_errors: u64,
    /// Attempts that were not the first.
    pub(crate) retries: u64,
    /// Messages that wait for another attempt from now on, and those that did and have ended.
    pub(crate) troubled: usize,
    pub(crate) untroubled: usize,
}

impl Batch {
    /// An empty one, begun at `now`.
    pub(crate) fn at(now: Instant) -> Self {
        Self {
            now,
            groups: Groups::default(),
            entry: Entry::default(),
            settled: Vec::new(),
            answers: Vec::new(),
            rule_errors: 0,
            retries: 0,
            troubled: 0,
            untroubled: 0,
        }
    }

    /// Takes down the end of a message.
    pub(crate) fn add(&mut self, held: Held, disposition: Disposition, reply: Option<BridgeMessage>) {
        self.entry.busy += self.now.saturating_duration_since(held.taken);
        self.untroubled += usize::from(held.troubled);
        match held.owner {
            Owner::Source(tag) => {
                self.settled.push(Settled::new(tag, held.id, disposition).with_reply(reply))
            }
            Owner::Caller(answer) => {
                let outcome = match disposition {
                    Disposition::Failed(error) => Err(error),
                    disposition => Ok(BridgeReceipt::new(held.id, disposition, reply)),
                };
                self.answers.push((answer, outcome));
            }
        }
    }

    /// Takes down that nobody has a message.
    pub(crate) fn fail(&mut self, held: Held, error: Error) {
        self.entry.failed += 1;
        self.add(held, Disposition::Failed(error), None);
    }
}
