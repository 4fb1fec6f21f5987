//! Circuits by name, never more than the bound: idle ones make room.
//!
//! ```text
//!  full ─► the hand goes round the ring ─ not idle, or somebody holds it ──► stays
//!                                         ├ asked for since the last time ─► stays once more
//!                                         └ else ──────────────────────────► goes, and its metrics with it
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use onex_spi::{Error, Result};

use crate::circuit::NativeCircuit;

#[derive(Debug)]
pub(crate) struct Registry {
    circuits: HashMap<Arc<str>, Arc<NativeCircuit>>,
    ring: Vec<Arc<str>>,
    hand: usize,
    made: u64,
    closed: bool,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self { circuits: HashMap::new(), ring: Vec::new(), hand: 0, made: 0, closed: false }
    }

    /// The registry, if the breaker is not closed.
    ///
    /// # Errors
    /// `Closed`.
    pub(crate) fn open(&self, operation: &'static str) -> Result<&Self> {
        if self.closed { Err(Error::closed(operation, "the breaker")) } else { Ok(self) }
    }

    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(crate) fn len(&self) -> usize {
        self.circuits.len()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<NativeCircuit>> {
        self.circuits.get(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<NativeCircuit>> {
        self.circuits.values()
    }

    /// Adds a new circuit, made from its name and its first era.
    pub(crate) fn insert(
        &mut self,
        name: Arc<str>,
        make: impl FnOnce(Arc<str>, u64) -> NativeCircuit,
    ) -> Arc<NativeCircuit> {
        self.made += 1;
        // Far from the eras that an evicted circuit of that name went through: its tickets fit nowhere.
        let era = self.made.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let circuit = Arc::new(make(Arc::clone(&name), era));
        self.ring.push(Arc::clone(&name));
        self.circuits.insert(name, Arc::clone(&circuit));
        circuit
    }

    /// Drops one idle circuit; `false` where there is none (R15).
    pub(crate) fn evict(&mut self) -> bool {
        // Twice round: once to forget who was asked for, once to find one.
        for _ in 0..2 * self.ring.len() {
            self.hand %= self.ring.len();
            let goes = self.circuits.get_mut(&self.ring[self.hand]).is_some_and(|circuit| {
                // Alone here means that nobody holds it and nobody can come to, under the registry's write lock.
                Arc::get_mut(circuit).is_some_and(|circuit| circuit.is_idle() && !circuit.take_touch())
            });
            if goes {
                let name = self.ring.swap_remove(self.hand);
                self.circuits.remove(&name);
                return true;
            }
            self.hand += 1;
        }
        false
    }
}

impl NativeCircuit {
    /// Notes that somebody asked for the circuit; written once, so that asking shares no write.
    pub(crate) fn touch(&self) {
        if !self.touched.load(Ordering::Relaxed) {
            self.touched.store(true, Ordering::Relaxed);
        }
    }

    fn take_touch(&self) -> bool {
        self.touched.swap(false, Ordering::Relaxed)
    }
}
