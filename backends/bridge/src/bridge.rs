//! One bridge: what its lane, its callers and whoever looks at it share.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use onex_spi::Clock;
use onex_spi::bridge::{BridgeId, BridgeRetry, BridgeSource, BridgeTarget, Overflow, Protocol};

use crate::books::Books;
use crate::conditions::RuleSet;
use crate::inbox::Inbox;

/// A bridge that lives.
pub(crate) struct Bridge {
    pub(crate) id: BridgeId,
    pub(crate) name: Arc<str>,
    pub(crate) protocols: (Protocol, Protocol),
    pub(crate) limits: Limits,
    pub(crate) source: Arc<dyn BridgeSource>,
    pub(crate) target: Arc<dyn BridgeTarget>,
    pub(crate) dead: Option<DeadEnd>,
    pub(crate) rules: ArcSwap<RuleSet>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) clock: Arc<dyn Clock>,
    books: Mutex<Books>,
}

/// Where dead letters go.
#[derive(Clone)]
pub(crate) struct DeadEnd {
    pub(crate) target: Arc<dyn BridgeTarget>,
    pub(crate) to: Arc<str>,
}

/// What of the configuration is looked at for every message.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) retry: BridgeRetry,
    pub(crate) in_flight: usize,
    pub(crate) overflow: Overflow,
    pub(crate) message_bytes: usize,
}

/// What a bridge is made of.
pub(crate) struct Parts {
    pub(crate) name: Arc<str>,
    pub(crate) protocols: (Protocol, Protocol),
    pub(crate) limits: Limits,
    pub(crate) source: Arc<dyn BridgeSource>,
    pub(crate) target: Arc<dyn BridgeTarget>,
    pub(crate) dead: Option<DeadEnd>,
    pub(crate) rules: RuleSet,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Bridge {
    pub(crate) fn new(id: BridgeId, parts: Parts) -> Self {
        let Parts { name, protocols, limits, source, target, dead, rules, clock } = parts;
        let (rules, inbox, books) = (ArcSwap::from_pointee(rules), Arc::default(), Mutex::default());
        Self { id, name, protocols, limits, source, target, dead, rules, inbox, clock, books }
    }

    /// The books; held for a few additions, never across a wait.
    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Bridge {
    /// Shows no configuration: it may hold secrets (B12).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bridge").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}
