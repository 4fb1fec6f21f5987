//! Circuits by name, never more than the bound: what every breaker decides alike about them.
//!
//! ```text
//!  name ─► there ──────────────────────────────────────────────► its circuit
//!          └ new ─► closed? too long? ─ room ──────────────────► made
//!                                       └ full ─► the hand goes round the ring
//!                                                  ├ held, counting, configured ────► stays
//!                                                  ├ asked for since the last time ─► stays once more
//!                                                  └ else ─► goes, and its metrics with it; where none goes: refused
//! ```

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::error::{full, long, unknown};
use super::{BreakerLimits, Circuit, CircuitMetrics, CircuitState, CircuitStatus};
use crate::{Error, Health, Result};

/// Keeps the circuits of one breaker by name: bounded, idle ones make room, every refusal typed (R15).
///
/// It needs nothing of a circuit beyond [`Circuit`]: an idle one is closed and not forced, and its metrics count no failure. A breaker
/// that looks its circuits up here declares [`BreakerFeature::Eviction`](super::BreakerFeature::Eviction). A look-up takes a shared
/// lock and allocates nothing.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use onex_spi::breaker::{BreakerCapabilities, Circuit, CircuitMetrics, Registry};
/// use onex_spi::Result;
///
/// struct MyBreaker<C> {
///     capabilities: BreakerCapabilities,
///     circuits: Registry<C>,
/// }
///
/// impl<C: Circuit> MyBreaker<C> {
///     fn new(capabilities: BreakerCapabilities, new_circuit: fn(Arc<str>) -> C) -> Self {
///         let circuits = Registry::new(capabilities.limits, move |name, _| new_circuit(name));
///         Self { capabilities, circuits }
///     }
///
///     fn circuit(&self, name: &str) -> Result<Arc<dyn Circuit>> {
///         Ok(self.circuits.circuit("breaker.circuit", name)?)
///     }
///
///     fn circuit_metrics(&self, name: &str) -> Result<CircuitMetrics> {
///         Ok(self.circuits.known("breaker.circuit_metrics", name)?.metrics())
///     }
/// }
/// ```
pub struct Registry<C> {
    limits: BreakerLimits,
    make: Box<Make<C>>,
    circuits: RwLock<Circuits<C>>,
}

type Make<C> = dyn Fn(Arc<str>, u64) -> C + Send + Sync;

impl<C: Circuit> fmt::Debug for Registry<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limits, circuits, .. } = self;
        f.debug_struct("Registry").field("limits", limits).field("circuits", circuits).finish_non_exhaustive()
    }
}

impl<C: Circuit> Registry<C> {
    /// Keeps at most [`circuits`](BreakerLimits::circuits), with names of at most [`name_bytes`](BreakerLimits::name_bytes), that
    /// `make` makes.
    ///
    /// `make` gets the name and a number that no other circuit of this registry had, for eras that are none of an earlier circuit
    /// of that name. It is called under the registry's lock and must not ask the registry.
    #[must_use]
    pub fn new(limits: BreakerLimits, make: impl Fn(Arc<str>, u64) -> C + Send + Sync + 'static) -> Self {
        let circuits =
            Circuits { entries: HashMap::new(), ring: Vec::new(), hand: 0, made: 0, closed: false };
        Self { limits, make: Box::new(make), circuits: RwLock::new(circuits) }
    }

    /// The circuit of that name, made where it is new.
    ///
    /// # Errors
    /// `InvalidInput` for a name that is too long; `ResourceExhausted` where the bound is reached and no circuit is idle; `Closed`.
    pub fn circuit(&self, operation: &'static str, name: &str) -> Result<Arc<C>> {
        self.look_up(operation, name, Entry::asked)
    }

    /// As [`circuit`](Self::circuit), for one that is given a configuration by its name: it never makes room.
    ///
    /// # Errors
    /// Those of [`circuit`](Self::circuit).
    pub fn pinned(&self, operation: &'static str, name: &str) -> Result<Arc<C>> {
        self.look_up(operation, name, Entry::pinned)
    }

    /// The circuit of that name, if it is known; never makes one (R6).
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Arc<C>> {
        self.read().entries.get(name).map(|entry| Arc::clone(&entry.circuit))
    }

    /// The circuit of that name; never makes one (R6).
    ///
    /// # Errors
    /// `NotFound` for an unknown name.
    pub fn known(&self, operation: &'static str, name: &str) -> Result<Arc<C>> {
        self.find(name).ok_or_else(|| unknown(operation, name))
    }

    /// The states of all circuits.
    #[must_use]
    pub fn states(&self) -> BTreeMap<Arc<str>, CircuitStatus> {
        // Under the lock, because a circuit that is held for its reading could not make room meanwhile.
        let status = |(name, entry): (&Arc<str>, &Entry<C>)| (Arc::clone(name), entry.circuit.status());
        self.read().entries.iter().map(status).collect()
    }

    /// Refuses circuits from now on; those that are there can still be found and read.
    pub fn close(&self) {
        self.write().closed = true;
    }

    /// How a breaker is doing that has nothing but these circuits.
    #[must_use]
    pub fn health(&self) -> Health {
        let (circuits, most) = (self.read(), self.limits.circuits);
        if circuits.closed {
            return Health::Unhealthy("the breaker is closed".to_owned());
        }
        if circuits.entries.len() >= most {
            return Health::Degraded(format!(
                "{most} circuits, the most: a new name needs an idle one to go"
            ));
        }
        Health::Healthy
    }

    fn look_up(&self, operation: &'static str, name: &str, note: fn(&Entry<C>) -> Arc<C>) -> Result<Arc<C>> {
        if let Some(entry) = self.read().open(operation)?.entries.get(name) {
            return Ok(note(entry));
        }
        let BreakerLimits { circuits: most, name_bytes, .. } = self.limits;
        if name.len() > name_bytes {
            return Err(long(operation, name, name_bytes));
        }
        let mut circuits = self.write();
        if let Some(entry) = circuits.open(operation)?.entries.get(name) {
            return Ok(note(entry));
        }
        if circuits.entries.len() >= most && !circuits.evict() {
            return Err(full(operation, name, most));
        }
        Ok(note(circuits.insert(Arc::from(name), &self.make)))
    }

    fn read(&self) -> RwLockReadGuard<'_, Circuits<C>> {
        self.circuits.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Circuits<C>> {
        self.circuits.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Circuits<C> {
    entries: HashMap<Arc<str>, Entry<C>>,
    ring: Vec<Arc<str>>,
    hand: usize,
    made: u64,
    closed: bool,
}

impl<C: Circuit> Circuits<C> {
    fn open(&self, operation: &'static str) -> Result<&Self> {
        if self.closed { Err(Error::closed(operation, "the breaker")) } else { Ok(self) }
    }

    fn insert(&mut self, name: Arc<str>, make: &Make<C>) -> &Entry<C> {
        self.made += 1;
        let circuit = Arc::new(make(Arc::clone(&name), self.made));
        self.ring.push(Arc::clone(&name));
        let new = Entry { circuit, asked: AtomicBool::new(true), pinned: AtomicBool::new(false) };
        self.entries.entry(name).insert_entry(new).into_mut()
    }

    /// Drops one idle circuit; `false` where there is none.
    fn evict(&mut self) -> bool {
        // Twice round: once to forget who was asked for, once to find one.
        for _ in 0..2 * self.ring.len() {
            self.hand %= self.ring.len();
            if self.entries.get_mut(&self.ring[self.hand]).is_some_and(Entry::may_go) {
                let name = self.ring.swap_remove(self.hand);
                self.entries.remove(&name);
                return true;
            }
            self.hand += 1;
        }
        false
    }
}

#[derive(Debug)]
struct Entry<C> {
    circuit: Arc<C>,
    /// Whether somebody asked for it since the hand came by.
    asked: AtomicBool,
    /// Whether it was given a configuration by its name.
    pinned: AtomicBool,
}

impl<C: Circuit> Entry<C> {
    fn asked(&self) -> Arc<C> {
        // Written once, so that asking shares no write.
        if !self.asked.load(Ordering::Relaxed) {
            self.asked.store(true, Ordering::Relaxed);
        }
        Arc::clone(&self.circuit)
    }

    fn pinned(&self) -> Arc<C> {
        self.pinned.store(true, Ordering::Relaxed);
        Arc::clone(&self.circuit)
    }

    fn may_go(&mut self) -> bool {
        // Alone here means that nobody holds it and, under the write lock, that nobody can come to.
        let alone = !*self.pinned.get_mut() && Arc::get_mut(&mut self.circuit).is_some();
        alone && !std::mem::take(self.asked.get_mut()) && is_idle(&*self.circuit)
    }
}

/// Whether nothing that decides would be lost with the circuit.
fn is_idle(circuit: &impl Circuit) -> bool {
    // The status first, because it is cheap where the metrics may not be.
    if circuit.status() != CircuitStatus::new(CircuitState::Closed) {
        return false;
    }
    let CircuitMetrics { consecutive_failures, window, .. } = circuit.metrics();
    consecutive_failures == 0 && window.is_none_or(|counts| counts.failures + counts.slow == 0)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::super::{BreakerCapabilities, CircuitBreakerConfig, Outcome, Rejection, Ticket, WindowCounts};
    use super::*;
    use crate::{Clock, ErrorKind, Features};

    /// A circuit that is as it is told to be.
    #[derive(Debug)]
    struct Plain {
        name: Arc<str>,
        number: u64,
        metrics: Mutex<CircuitMetrics>,
    }

    impl Plain {
        fn new(name: Arc<str>, number: u64) -> Self {
            let metrics = Mutex::new(CircuitMetrics::new(CircuitStatus::new(CircuitState::Closed)));
            Self { name, number, metrics }
        }

        fn be(&self, change: impl FnOnce(&mut CircuitMetrics)) {
            change(&mut self.metrics.lock().expect("nobody panics with it"));
        }
    }

    impl Circuit for Plain {
        fn name(&self) -> &str {
            &self.name
        }

        fn admit(&self, _call_timeout: Option<Duration>) -> Result<Ticket, Rejection> {
            Ok(Ticket::new(0, 0))
        }

        fn settle(&self, _ticket: Ticket, _outcome: Outcome) {}

        fn status(&self) -> CircuitStatus {
            self.metrics().status
        }

        fn metrics(&self) -> CircuitMetrics {
            self.metrics.lock().expect("nobody panics with it").clone()
        }

        fn clock(&self) -> &dyn Clock {
            unreachable!("the registry has no time")
        }

        fn call_timeout(&self) -> Option<Duration> {
            None
        }

        fn config(&self) -> CircuitBreakerConfig {
            CircuitBreakerConfig::new()
        }
    }

    fn registry(circuits: usize) -> Registry<Plain> {
        Registry::new(BreakerCapabilities::new(Features::all(), Duration::ZERO, circuits).limits, Plain::new)
    }

    fn made(registry: &Registry<Plain>, name: &str) -> Result<Arc<Plain>> {
        registry.circuit("breaker.circuit", name)
    }

    fn names(registry: &Registry<Plain>) -> Vec<String> {
        registry.states().into_keys().map(|name| name.to_string()).collect()
    }

    #[test]
    fn idle_circuits_make_room_and_one_that_is_asked_for_stays() {
        let registry = registry(3);
        for name in ["a", "b", "c"] {
            made(&registry, name).expect("there is room");
        }
        for number in 0..20 {
            made(&registry, &number.to_string()).expect("an idle one makes room");
            assert!(made(&registry, "c").is_ok_and(|circuit| circuit.number == 3), "{:?}", names(&registry));
        }
        assert_eq!(names(&registry).len(), 3);
        let full = "3 circuits, the most: a new name needs an idle one to go".to_owned();
        assert_eq!(registry.health(), Health::Degraded(full));
    }

    #[test]
    fn only_idle_circuits_go() {
        type Busy = (&'static str, fn(&mut CircuitMetrics));
        let busy: [Busy; 6] = [
            ("open", |metrics| metrics.status.state = CircuitState::Open),
            ("half-open", |metrics| metrics.status.state = CircuitState::HalfOpen),
            ("forced", |metrics| metrics.status.forced = true),
            ("failed once", |metrics| metrics.consecutive_failures = 1),
            ("failed in the window", |metrics| {
                metrics.window = Some(WindowCounts { calls: 9, failures: 1, slow: 0 });
            }),
            ("slow in the window", |metrics| {
                metrics.window = Some(WindowCounts { calls: 9, failures: 0, slow: 1 });
            }),
        ];
        let registry = registry(busy.len() + 3);
        for (name, change) in busy {
            made(&registry, name).expect("there is room").be(change);
        }
        let held = made(&registry, "held").expect("there is room");
        registry.pinned("breaker.configure", "configured").expect("there is room");
        let all_good = |metrics: &mut CircuitMetrics| {
            metrics.window = Some(WindowCounts { calls: 9, failures: 0, slow: 0 });
        };
        made(&registry, "idle").expect("there is room").be(all_good);
        let before = names(&registry);
        made(&registry, "new").expect("the idle one makes room").be(|metrics| metrics.status.forced = true);
        let after = names(&registry);
        let gone: Vec<_> = before.iter().filter(|name| !after.contains(name)).collect();
        assert_eq!(gone, ["idle"]);

        let refused = made(&registry, "one more").expect_err("nobody is idle");
        assert_eq!(refused.kind(), ErrorKind::ResourceExhausted, "{refused}");
        drop(held);
        made(&registry, "one more").expect("the last handle of `held` is gone");
        assert!(registry.find("held").is_none());
    }

    #[test]
    fn a_circuit_that_comes_back_is_another_one() {
        let registry = registry(1);
        let numbers = ["a", "b", "a"].map(|name| made(&registry, name).expect("room is made").number);
        assert_eq!(numbers, [1, 2, 3]);
        assert_eq!(made(&registry, "a").expect("known").number, 3, "and stays that one");
    }

    #[test]
    fn names_are_refused_beyond_the_limit_and_unknown_ones_are_not_made() {
        let registry = registry(2);
        let longest = "ä".repeat(32 << 10);
        made(&registry, &longest).expect("64 KiB are a name");
        let long = made(&registry, &format!("{longest}!")).expect_err("a byte too many");
        assert_eq!(long.kind(), ErrorKind::InvalidInput);
        assert!(long.message().contains("(65537 bytes) is not of 0..=65536 bytes"), "{long}");
        let unknown = registry.known("breaker.circuit_state", "a").expect_err("nobody made it");
        assert_eq!((unknown.kind(), unknown.operation()), (ErrorKind::NotFound, "breaker.circuit_state"));
        assert_eq!(registry.states().len(), 1, "a read makes nothing");
    }

    #[test]
    fn a_closed_registry_makes_nothing_and_can_be_read() {
        let registry = registry(2);
        made(&registry, "a").expect("there is room");
        assert_eq!(registry.health(), Health::Healthy);
        registry.close();
        for name in ["a", "b"] {
            assert_eq!(made(&registry, name).expect_err("closed").kind(), ErrorKind::Closed);
        }
        assert!(matches!(registry.health(), Health::Unhealthy(_)));
        assert_eq!(registry.known("breaker.reset", "a").expect("known").name(), "a");
    }

    #[test]
    fn threads_that_meet_get_one_circuit_and_never_pass_the_bound() {
        let registry = registry(4);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let registry = &registry;
                scope.spawn(move || {
                    for round in 0..1_000_u32 {
                        let name = ((round + thread) % 9).to_string();
                        // Each holds one at a time, so that one of four can always go or is the one that is asked for.
                        let circuit = made(registry, &name).expect("at most three others hold one");
                        assert_eq!(circuit.name(), name);
                        assert!(registry.states().len() <= 4);
                        assert_eq!(made(registry, &name).expect("held").number, circuit.number);
                    }
                });
            }
        });
    }
}
