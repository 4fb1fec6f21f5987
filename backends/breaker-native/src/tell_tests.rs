//! Tests of the teller, beside it and not in it: the model checker compiles that file on its own locks.

use std::sync::Arc;
use std::time::Instant;

use onex_spi::breaker::{CircuitListener, CircuitState, CircuitStatus, Transition, TransitionCause};

use crate::tell::{MOST, Teller};

fn change(sequence: u64) -> Transition {
    let (from, to) = (CircuitStatus::new(CircuitState::Closed), CircuitStatus::new(CircuitState::Open));
    Transition::new(sequence, from, to, TransitionCause::Failure, Instant::now())
}

/// Pushes and drains from inside, and panics at the first change.
struct Busy {
    teller: Arc<Teller>,
    seen: std::sync::Mutex<Vec<u64>>,
}

impl CircuitListener for Busy {
    fn changed(&self, circuit: &str, transition: &Transition) {
        self.seen.lock().expect("nobody panics with it").push(transition.sequence);
        if transition.sequence == 1 {
            self.teller.push(&Arc::from(circuit), change(3));
            self.teller.drain();
            std::panic::resume_unwind(Box::new("a listener"));
        }
    }
}

#[test]
fn what_comes_while_telling_is_told_after_it_and_a_panic_ends_nothing() {
    let teller = Arc::new(Teller::default());
    let busy = Arc::new(Busy { teller: Arc::clone(&teller), seen: std::sync::Mutex::default() });
    teller.listen(Arc::clone(&busy) as _);
    let name: Arc<str> = Arc::from("a");
    teller.push(&name, change(1));
    teller.push(&name, change(2));
    teller.drain();
    assert_eq!(*busy.seen.lock().expect("whole"), [1, 2, 3]);
}

#[test]
fn the_queue_is_bounded_and_the_numbers_show_what_was_lost() {
    let teller = Arc::new(Teller::default());
    let busy = Arc::new(Busy { teller: Arc::clone(&teller), seen: std::sync::Mutex::default() });
    teller.listen(Arc::clone(&busy) as _);
    let name: Arc<str> = Arc::from("a");
    (2..=MOST as u64 + 11).for_each(|sequence| teller.push(&name, change(sequence)));
    assert_eq!(teller.lost(), 10);
    teller.drain();
    teller.push(&name, change(5000));
    teller.drain();
    let seen = busy.seen.lock().expect("whole");
    assert_eq!((seen.len(), seen.last()), (MOST + 1, Some(&5000)));
}
