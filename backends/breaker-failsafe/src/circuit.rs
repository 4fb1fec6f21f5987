//! One circuit: the machine behind its lock, the clock before it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use onex_spi::Clock;
use onex_spi::breaker::{
    Circuit, CircuitBreakerConfig, CircuitMetrics, CircuitStatus, Listeners, Outcome, Rejection, Ticket,
    Transition,
};

use crate::machine::Machine;

#[derive(Debug)]
pub(crate) struct FailsafeCircuit {
    name: Arc<str>,
    clock: Arc<dyn Clock>,
    listeners: Arc<Listeners>,
    machine: Mutex<Machine>,
}

impl FailsafeCircuit {
    pub(crate) fn new(
        name: Arc<str>,
        clock: Arc<dyn Clock>,
        listeners: Arc<Listeners>,
        machine: Machine,
    ) -> Self {
        Self { name, clock, listeners, machine: Mutex::new(machine) }
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the machine at a time that is read under its lock, so that its history is in order, and tells once it is
    /// unlocked.
    pub(crate) fn change<T>(&self, act: impl FnOnce(&mut Machine, Instant) -> (T, Option<Transition>)) -> T {
        let mut machine = self.machine();
        let (answer, change) = act(&mut machine, self.clock.now());
        let Some(change) = change else { return answer };
        self.listeners.push(&self.name, change);
        drop(machine);
        self.listeners.tell();
        answer
    }
}

impl Circuit for FailsafeCircuit {
    fn name(&self) -> &str {
        &self.name
    }

    fn admit(&self, call_timeout: Option<Duration>) -> Result<Ticket, Rejection> {
        self.change(|machine, now| machine.admit(call_timeout, now))
    }

    fn settle(&self, ticket: Ticket, outcome: Outcome) {
        self.change(|machine, now| ((), machine.settle(&ticket, outcome, now)));
    }

    fn status(&self) -> CircuitStatus {
        self.machine().status(self.clock.now())
    }

    fn metrics(&self) -> CircuitMetrics {
        self.machine().metrics(self.clock.now())
    }

    fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    fn call_timeout(&self) -> Option<Duration> {
        self.machine().config().call_timeout
    }

    fn config(&self) -> CircuitBreakerConfig {
        *self.machine().config()
    }
}
