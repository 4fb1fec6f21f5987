//! Messages on their way: who owns each, and what happened to it so far.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use onex_spi::Error;
use onex_spi::bridge::{BridgeMessage, DeadReason, DeliveryTag, MessageId};

use crate::inbox::Answer;

/// Whom the end of a message is told.
#[derive(Debug)]
pub(crate) enum Owner {
    Source(DeliveryTag),
    Caller(Answer),
}

/// What is known about a message that was taken and is not settled.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) id: MessageId,
    pub(crate) owner: Owner,
    pub(crate) taken: Instant,
    /// Attempts that were answered; of the dead letter once it is one.
    pub(crate) attempts: u32,
    /// The rule that chose the route, from 1; 0 = the default route.
    pub(crate) rule: u32,
    /// Whether it counts among those that wait for another attempt.
    pub(crate) troubled: bool,
    /// Why it is a dead letter, and the error that made it one.
    pub(crate) dead: Option<(DeadReason, Option<Error>)>,
}

impl Held {
    pub(crate) fn new(id: MessageId, owner: Owner, taken: Instant) -> Self {
        Self { id, owner, taken, attempts: 0, rule: 0, troubled: false, dead: None }
    }
}

/// Messages that go one way together: a route of the target, or of the dead-letter target.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) to: Arc<str>,
    pub(crate) dead: bool,
    pub(crate) messages: Vec<BridgeMessage>,
    pub(crate) held: Vec<Held>,
}

/// The groups of one batch, in the order of their first message.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    all: Vec<Group>,
    /// What the first group reserves.
    room: usize,
}

impl Groups {
    /// Groups for `count` messages.
    ///
    /// Most batches go one way, so the first group gets room for them all at once; further ones grow as they must, so that many routes
    /// do not reserve many times the batch.
    pub(crate) fn with_room(count: usize) -> Self {
        Self { all: Vec::new(), room: count }
    }

    pub(crate) fn add(&mut self, to: &Arc<str>, dead: bool, message: BridgeMessage, held: Held) {
        // Routes of one rule set are one pointer each; another rule set's make a group of their own, which costs nothing but a call.
        let found = self.all.iter_mut().rev().find(|group| Arc::ptr_eq(&group.to, to) && group.dead == dead);
        let group = match found {
            Some(group) => group,
            None => {
                let room = std::mem::take(&mut self.room);
                let (messages, held) = (Vec::with_capacity(room), Vec::with_capacity(room));
                self.all.push(Group { to: to.clone(), dead, messages, held });
                let last = self.all.len() - 1;
                &mut self.all[last]
            }
        };
        group.messages.push(message);
        group.held.push(held);
    }

    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Group> {
        self.all.drain(..)
    }
}

/// The messages that wait for another attempt, by the time at which it is due.
#[derive(Debug, Default)]
pub(crate) struct Retries {
    waiting: BTreeMap<(Instant, u64), Retry>,
    last: u64,
}

#[derive(Debug)]
struct Retry {
    to: Arc<str>,
    dead: bool,
    message: BridgeMessage,
    held: Held,
}

impl Retries {
    pub(crate) fn add(
        &mut self,
        due: Instant,
        to: &Arc<str>,
        dead: bool,
        message: BridgeMessage,
        held: Held,
    ) {
        self.last += 1;
        self.waiting.insert((due, self.last), Retry { to: to.clone(), dead, message, held });
    }

    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((due, _), _)| *due)
    }

    /// Moves what is due at `now` into `groups`, the longest due first.
    pub(crate) fn take_due(&mut self, now: Instant, groups: &mut Groups) {
        while let Some(first) = self.waiting.first_entry()
            && first.key().0 <= now
        {
            let Retry { to, dead, message, held } = first.remove();
            groups.add(&to, dead, message, held);
        }
    }

    /// Gives up: every message that waits.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = Held> {
        std::mem::take(&mut self.waiting).into_values().map(|retry| retry.held)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn message(n: u128) -> (BridgeMessage, Held) {
        let id = MessageId::from_u128(n);
        (BridgeMessage::new(id, "x"), Held::new(id, Owner::Source(DeliveryTag::new(1)), Instant::now()))
    }

    #[test]
    fn only_the_first_route_of_a_batch_reserves_room_for_all() {
        let mut groups = Groups::with_room(1_000);
        for n in 0..1_000 {
            let (message, held) = message(n);
            groups.add(&n.to_string().into(), false, message, held);
        }
        let reserved: Vec<_> = groups.drain().map(|group| group.held.capacity()).collect();
        assert_eq!(reserved.len(), 1_000);
        assert!(reserved[0] >= 1_000 && reserved[1..].iter().all(|room| *room < 16), "{reserved:?}");
    }

    #[test]
    fn what_is_due_goes_in_order_and_together() {
        let (mut retries, mut groups) = (Retries::default(), Groups::default());
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for (due, to, dead, n) in
            [(2, &a, false, 1), (1, &a, false, 2), (1, &b, false, 3), (1, &a, true, 4), (3, &a, false, 5)]
        {
            let (message, held) = message(n);
            retries.add(at(due), to, dead, message, held);
        }
        assert_eq!(retries.next_due(), Some(at(1)));
        retries.take_due(start, &mut groups);
        assert_eq!(groups.drain().count(), 0);
        retries.take_due(at(2), &mut groups);
        let seen: Vec<_> = groups
            .drain()
            .map(|group| {
                (
                    group.to.to_string(),
                    group.dead,
                    group.held.iter().map(|held| held.id.as_u128()).collect::<Vec<_>>(),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [("a".into(), false, vec![2, 1]), ("b".into(), false, vec![3]), ("a".into(), true, vec![4])]
        );
        assert_eq!(retries.take_all().map(|held| held.id.as_u128()).collect::<Vec<_>>(), [5]);
        assert_eq!(retries.next_due(), None);
    }
}
