//! The bridges of one engine, by id and by name; a number is never issued again, by this engine or another one.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use onex_spi::bridge::{BridgeId, BridgeInfo};
use onex_spi::{Error, ErrorKind, Result};

use crate::running::Running;

/// What lives and what ever lived.
#[derive(Debug)]
pub(crate) struct Registry(Mutex<Table>);

#[derive(Debug)]
struct Table {
    /// What lies below every number of this registry.
    base: u64,
    issued: u64,
    bridges: BTreeMap<BridgeId, Arc<Running>>,
    names: BTreeSet<Arc<str>>,
    closed: bool,
}

const NUMBER_BITS: u32 = 40;

impl Registry {
    pub(crate) fn new() -> Self {
        static REGISTRIES: AtomicU64 = AtomicU64::new(0);
        // Each registry begins after the ones before, so that a foreign number is never taken for an own one.
        let base = REGISTRIES.fetch_add(1, Ordering::Relaxed) << NUMBER_BITS;
        let table =
            Table { base, issued: 0, bridges: BTreeMap::new(), names: BTreeSet::new(), closed: false };
        Self(Mutex::new(table))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a name until the claim is dropped or the bridge has ended.
    ///
    /// # Errors
    /// `AlreadyExists`; `Closed` once the engine is.
    pub(crate) fn claim(self: &Arc<Self>, operation: &'static str, name: &str) -> Result<Claim> {
        let name: Arc<str> = name.into();
        let mut table = self.table();
        if table.closed {
            return Err(Error::closed(operation, "the communication bridge"));
        }
        if !table.names.insert(name.clone()) {
            let message = format!("there is a bridge `{name}` already; use it, or choose another name");
            return Err(Error::new(ErrorKind::AlreadyExists, operation, message).not_applied());
        }
        Ok(Claim { registry: self.clone(), name, kept: false })
    }

    /// The bridge of that id.
    ///
    /// # Errors
    /// `Closed` where there was one, `NotFound` where there never was.
    pub(crate) fn get(&self, operation: &'static str, id: BridgeId) -> Result<Arc<Running>> {
        self.find(operation, id)?.ok_or_else(|| Error::closed(operation, id))
    }

    /// The bridge of that id; `None` where it has ended.
    ///
    /// # Errors
    /// `NotFound` where there never was one.
    pub(crate) fn find(&self, operation: &'static str, id: BridgeId) -> Result<Option<Arc<Running>>> {
        let table = self.table();
        if let Some(running) = table.bridges.get(&id) {
            return Ok(Some(running.clone()));
        }
        if (table.base + 1..=table.base + table.issued).contains(&id.get().get()) {
            return Ok(None);
        }
        let message = format!("{id} was never created here; create one");
        Err(Error::new(ErrorKind::NotFound, operation, message).not_applied())
    }

    /// What forgets the bridge of that id, and frees its name; to be called at the bridge's end.
    pub(crate) fn at_end(self: &Arc<Self>, id: BridgeId) -> impl FnOnce() + Send + use<> {
        let registry = self.clone();
        move || {
            let mut table = registry.table();
            if let Some(running) = table.bridges.remove(&id) {
                table.names.remove(&running.bridge().name);
            }
        }
    }

    /// Lets no more bridges in, and hands out those that live.
    pub(crate) fn close(&self) -> Vec<Arc<Running>> {
        let mut table = self.table();
        table.closed = true;
        table.bridges.values().cloned().collect()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.table().closed
    }

    pub(crate) fn all(&self) -> Vec<Arc<Running>> {
        self.table().bridges.values().cloned().collect()
    }

    /// What lives, by name.
    pub(crate) fn infos(&self) -> Vec<BridgeInfo> {
        let mut infos: Vec<_> = self.all().iter().map(|running| running.info()).collect();
        infos.sort_by(|one, other| one.name.cmp(&other.name));
        infos
    }
}

/// A name that is taken; given back on drop unless its bridge was issued.
#[derive(Debug)]
pub(crate) struct Claim {
    registry: Arc<Registry>,
    name: Arc<str>,
    kept: bool,
}

impl Claim {
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Issues the next id and starts the bridge of it.
    ///
    /// # Errors
    /// `Closed` where the engine was closed meanwhile.
    pub(crate) fn issue(
        mut self,
        operation: &'static str,
        start: impl FnOnce(BridgeId) -> Running,
    ) -> Result<BridgeId> {
        let registry = self.registry.clone();
        let mut table = registry.table();
        if table.closed {
            drop(table);
            return Err(Error::closed(operation, "the communication bridge"));
        }
        // 2^40 numbers do not run out.
        let id = BridgeId::new(NonZeroU64::MIN.saturating_add(table.base + table.issued));
        table.issued += 1;
        table.bridges.insert(id, Arc::new(start(id)));
        self.kept = true;
        Ok(id)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.kept {
            self.registry.table().names.remove(&self.name);
        }
    }
}
