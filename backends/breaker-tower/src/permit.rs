//! A permit that owns its circuit, because a service's future may not borrow.

use std::sync::Arc;

use onex_spi::breaker::{Circuit, Outcome, Ticket};

/// [`Permit`](onex_spi::breaker::Permit) by the same rules: dropped it is cancelled (R3), in a panic failed (R16).
#[derive(Debug)]
pub(crate) struct OwnedPermit {
    circuit: Arc<dyn Circuit>,
    ticket: Option<Ticket>,
    panicking_before: bool,
}

impl OwnedPermit {
    pub(crate) fn new(circuit: Arc<dyn Circuit>, ticket: Ticket) -> Self {
        Self { circuit, ticket: Some(ticket), panicking_before: std::thread::panicking() }
    }

    pub(crate) fn circuit(&self) -> &dyn Circuit {
        &*self.circuit
    }

    pub(crate) fn settle(mut self, outcome: Outcome) {
        self.settle_once(outcome);
    }

    fn settle_once(&mut self, outcome: Outcome) {
        if let Some(ticket) = self.ticket.take() {
            self.circuit.settle(ticket, outcome);
        }
    }
}

impl Drop for OwnedPermit {
    fn drop(&mut self) {
        let panicked = std::thread::panicking() && !self.panicking_before;
        self.settle_once(if panicked { Outcome::Failure } else { Outcome::Cancelled });
    }
}
