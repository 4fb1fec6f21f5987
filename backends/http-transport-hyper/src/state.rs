//! The pool's books: what stands where, under one lock.
//!
//! ```text
//!  authority ─► Origin { places, idle: oldest .. newest, waiting: first .. last }
//!  connection id ─► Entry { its task, its origin }
//!
//!  places = connections (dialled, idle, in use, ending) + dials;  places <= cap;  somebody waits ⇒ places = cap
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use http::HeaderValue;
use onex_spi::http::{PoolStats, StatsSource};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::connection::Idle;

/// Where the pool stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// Running exchanges get their time; nothing becomes idle.
    Closing,
    /// Nothing of this pool lives on; `cut` where something had to be ended for that.
    Closed {
        cut: bool,
    },
}

/// What the pool knows of one connection's task.
pub(crate) struct Entry {
    /// `None` for the moment in which the task is started.
    pub(crate) task: Option<AbortHandle>,
    pub(crate) origin: usize,
    /// Its sender is gone, the task is about to end by itself.
    retiring: bool,
}

pub(crate) struct Origin<G> {
    authority: Box<str>,
    pub(crate) host: HeaderValue,
    places: usize,
    /// Oldest first; a checkout takes the newest.
    pub(crate) idle: VecDeque<Idle>,
    waiting: VecDeque<oneshot::Sender<G>>,
}

/// The books of a pool whose queue is served with a `G`.
pub(crate) struct State<G> {
    pub(crate) phase: Phase,
    /// By index, so that a lease need not look up a name; a slot is free again once nothing stands in it.
    origins: Vec<Option<Origin<G>>>,
    by_authority: BTreeMap<Box<str>, usize>,
    connections: BTreeMap<u64, Entry>,
    places: usize,
    opened: u64,
    closed: u64,
    reused: u64,
    pub(crate) reaper: Option<AbortHandle>,
}

impl<G> State<G> {
    pub(crate) fn new() -> Self {
        Self {
            phase: Phase::Open,
            origins: Vec::new(),
            by_authority: BTreeMap::new(),
            connections: BTreeMap::new(),
            places: 0,
            opened: 0,
            closed: 0,
            reused: 0,
            reaper: None,
        }
    }

    pub(crate) fn find(&self, authority: &str) -> Option<usize> {
        self.by_authority.get(authority).copied()
    }

    /// Makes the books of a new origin.
    pub(crate) fn add(&mut self, authority: &str, host: HeaderValue) -> usize {
        let origin = Origin {
            authority: authority.into(),
            host,
            places: 0,
            idle: VecDeque::new(),
            waiting: VecDeque::new(),
        };
        let free = self.origins.iter().position(Option::is_none);
        let index = free.unwrap_or(self.origins.len());
        match free {
            Some(index) => self.origins[index] = Some(origin),
            None => self.origins.push(Some(origin)),
        }
        self.by_authority.insert(authority.into(), index);
        index
    }

    pub(crate) fn origin(&mut self, index: usize) -> Option<&mut Origin<G>> {
        self.origins.get_mut(index)?.as_mut()
    }

    /// Takes the newest idle connection that can still be used; retires the others that it meets.
    pub(crate) fn take_idle(&mut self, index: usize, now: Instant, timeout: Duration) -> Option<Idle> {
        while let Some(idle) = self.origin(index)?.idle.pop_back() {
            if idle.is_fresh(now, timeout) {
                self.reused += 1;
                return Some(idle);
            }
            self.retire(idle);
        }
        None
    }

    /// A connection went from one exchange to the next without standing idle.
    pub(crate) fn count_reuse(&mut self) {
        self.reused += 1;
    }

    /// Takes a place to dial for, unless `cap` of them are taken.
    pub(crate) fn take_place(&mut self, index: usize, cap: usize) -> bool {
        let Some(origin) = self.origin(index) else { return false };
        if origin.places >= cap {
            return false;
        }
        origin.places += 1;
        self.places += 1;
        true
    }

    /// Gives a place back; the last one takes its origin's books with it.
    pub(crate) fn leave_place(&mut self, index: usize) {
        let Some(origin) = self.origin(index) else { return };
        origin.places -= 1;
        self.places -= 1;
        let origin = &self.origins[index];
        if let Some(origin) = origin.as_ref().filter(|origin| origin.places == 0) {
            self.by_authority.remove(&origin.authority);
            self.origins[index] = None;
        }
    }

    /// Queues for a connection; `None` where `most` wait already.
    pub(crate) fn wait(&mut self, index: usize, most: usize) -> Option<oneshot::Receiver<G>> {
        let waiting = &mut self.origin(index)?.waiting;
        if waiting.len() >= most {
            // Those whose call was dropped still stand in the queue; they count only here.
            waiting.retain(|waiter| !waiter.is_closed());
        }
        (waiting.len() < most).then(|| {
            let (sender, receiver) = oneshot::channel();
            waiting.push_back(sender);
            receiver
        })
    }

    /// The first in the queue who still waits.
    pub(crate) fn next_waiter(&mut self, index: usize) -> Option<oneshot::Sender<G>> {
        let waiting = &mut self.origin(index)?.waiting;
        while let Some(waiter) = waiting.pop_front() {
            if !waiter.is_closed() {
                return Some(waiter);
            }
        }
        None
    }

    pub(crate) fn opened(&mut self, id: u64, origin: usize) {
        self.opened += 1;
        self.connections.insert(id, Entry { task: None, origin, retiring: false });
    }

    /// The task of a connection runs, unless it has ended already.
    pub(crate) fn started(&mut self, id: u64, task: AbortHandle) {
        if let Some(entry) = self.connections.get_mut(&id) {
            entry.task = Some(task);
        }
    }

    /// The books of a connection whose task still runs.
    pub(crate) fn entry(&self, id: u64) -> Option<&Entry> {
        self.connections.get(&id)
    }

    /// A connection's stream is gone.
    pub(crate) fn ended(&mut self, id: u64) {
        let Some(entry) = self.connections.remove(&id) else { return };
        self.closed += 1;
        if let Some(origin) = self.origin(entry.origin) {
            origin.idle.retain(|idle| idle.id() != id);
        }
    }

    /// Lets go of an idle connection: without its sender its task ends.
    pub(crate) fn retire(&mut self, idle: Idle) {
        self.retire_id(idle.id());
    }

    pub(crate) fn retire_id(&mut self, id: u64) {
        if let Some(entry) = self.connections.get_mut(&id) {
            entry.retiring = true;
        }
    }

    /// Retires what has been idle for `timeout`; the time at which the next one will have been.
    pub(crate) fn expire(&mut self, now: Instant, timeout: Duration) -> Option<Instant> {
        let mut expired = Vec::new();
        let mut next: Option<Instant> = None;
        for origin in self.origins.iter_mut().flatten() {
            while let Some(idle) = origin.idle.pop_front_if(|idle| !idle.is_fresh(now, timeout)) {
                expired.push(idle);
            }
            let due = origin.idle.front().and_then(|idle| idle.since().checked_add(timeout));
            next = next.into_iter().chain(due).min();
        }
        expired.into_iter().for_each(|idle| self.retire(idle));
        next
    }

    /// Retires every idle connection.
    pub(crate) fn retire_all(&mut self) {
        let idle: Vec<_> =
            self.origins.iter_mut().flatten().flat_map(|origin| origin.idle.drain(..)).collect();
        idle.into_iter().for_each(|idle| self.retire(idle));
        if let Some(reaper) = self.reaper.take() {
            reaper.abort();
        }
    }

    /// Whether an exchange runs, dials or waits.
    pub(crate) fn is_busy(&self) -> bool {
        self.places > self.connections.len() || self.connections.values().any(|entry| !entry.retiring)
    }

    pub(crate) fn has_places(&self) -> bool {
        self.places > 0
    }

    pub(crate) fn has_connections(&self) -> bool {
        !self.connections.is_empty()
    }

    /// The tasks and the queues, to be ended and dropped outside the lock.
    pub(crate) fn take_rest(&mut self) -> (Vec<AbortHandle>, Vec<VecDeque<oneshot::Sender<G>>>) {
        let tasks = self.connections.values().filter_map(|entry| entry.task.clone()).collect();
        let queues =
            self.origins.iter_mut().flatten().map(|origin| std::mem::take(&mut origin.waiting)).collect();
        (tasks, queues)
    }

    pub(crate) fn stats(&self, dial_errors: u64) -> PoolStats {
        let idle = self.origins.iter().flatten().map(|origin| origin.idle.len()).sum::<usize>();
        let in_use = self.connections.values().filter(|entry| !entry.retiring).count() - idle;
        let mut stats = PoolStats::new(StatsSource::Exact);
        stats.open = Some(self.connections.len() as u64);
        stats.in_use = Some(in_use as u64);
        stats.idle = Some(idle as u64);
        stats.opened = Some(self.opened);
        stats.closed = Some(self.closed);
        stats.dial_errors = Some(dial_errors);
        stats.reused = Some(self.reused);
        stats
    }
}
