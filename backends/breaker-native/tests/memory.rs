//! What a circuit and a call cost in memory; counted, so that a busy machine changes nothing.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use allocation_counter::measure;
use onex_breaker_native::{Config, open};
use onex_spi::breaker::{CircuitBreaker, CircuitBreakerExt, CircuitExt};
use onex_spi::{Error, TokioClock};

fn breaker(circuits: usize) -> Arc<dyn CircuitBreaker> {
    open(Config::new().with_max_circuits(circuits), Arc::new(TokioClock::new())).expect("in range")
}

fn finished<F: Future>(future: F) -> bool {
    pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[test]
fn an_idle_circuit_takes_at_most_400_bytes() {
    const CIRCUITS: usize = 10_000;
    let breaker = breaker(CIRCUITS);
    // The names as a service writes them; ours to keep, so not counted here.
    let names: Vec<String> = (0..CIRCUITS).map(|number| format!("http:host-{number}.example")).collect();
    let counted = measure(|| names.iter().for_each(|name| drop(breaker.circuit(name))));
    let each = counted.bytes_current / CIRCUITS as i64;
    assert!((100..=400).contains(&each), "{each} bytes a circuit: {counted:?}");
}

#[test]
fn a_call_allocates_nothing_unless_it_waits() {
    let breaker = breaker(10);
    let circuit = breaker.circuit("payments").expect("there is room");
    let call = || circuit.call(None, || async { Ok::<_, Error>(1) });
    let by_name = || {
        breaker.execute_with_circuit_breaker("payments", Some(Duration::from_secs(1)), || async {
            Ok::<_, Error>(1)
        })
    };
    // The thread's number and the circuit's first need are made once.
    assert!(finished(call()) && finished(by_name()));
    assert_eq!(measure(|| assert!(finished(call()))).count_total, 0, "by handle");
    assert_eq!(measure(|| assert!(finished(by_name()))).count_total, 0, "by name, with a timeout");
    let rejected = || circuit.try_acquire().is_err();
    breaker.force_circuit_open("payments").expect("known");
    assert_eq!(measure(|| assert!(rejected())).count_total, 0, "rejected");
}
