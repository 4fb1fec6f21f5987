//! Both breakers trace every change of state, as they count it. Row ONEX-CB-04.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use example_circuit_breaker::program;
use onex_spi::breaker::{CircuitBreaker, Transition};
use onex_testkit::clock::ManualClock;

/// What was traced, as lines of JSON.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panics with it").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs the story and returns what was traced beside what the circuit kept.
async fn traced(breaker: Arc<dyn CircuitBreaker>, clock: &ManualClock) -> (Vec<String>, Vec<Transition>) {
    let lines = Lines::default();
    let into = lines.clone();
    let subscriber = tracing_subscriber::fmt().json().with_writer(move || into.clone()).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    program::run(&*breaker, clock).await.expect("every step is accepted");
    drop(guard);
    let text = String::from_utf8(lines.0.lock().expect("whole").clone()).expect("text");
    let changes = text.lines().filter(|line| line.contains("circuit changed its state"));
    let kept = breaker.circuit_metrics("prices").expect("known").recent_transitions;
    (changes.map(str::to_owned).collect(), kept)
}

fn each_change_is_traced(engine: &str, (lines, changes): (Vec<String>, Vec<Transition>)) {
    assert!(changes.len() > 5, "{engine}: {changes:?}");
    assert_eq!(lines.len(), changes.len(), "{engine}: {lines:#?}");
    for (line, Transition { sequence, from, to, cause, .. }) in lines.iter().zip(&changes) {
        let due = [
            r#""level":"INFO""#.to_owned(),
            r#""circuit":"prices""#.to_owned(),
            format!(r#""sequence":{sequence},"#),
            format!(r#""from":"{:?}""#, from.state),
            format!(r#""to":"{:?}""#, to.state),
            format!(r#""forced":{}"#, to.forced),
            format!(r#""cause":"{cause:?}""#),
        ];
        for part in due {
            assert!(line.contains(&part), "{engine}: no {part} in {line}");
        }
    }
}

#[tokio::test]
async fn every_change_of_state_is_an_event_with_its_number_states_and_cause() {
    let clock = ManualClock::new();
    let native =
        onex_breaker_native::open(Default::default(), Arc::new(clock.clone())).expect("the defaults");
    each_change_is_traced("native", traced(native, &clock).await);
    let clock = ManualClock::new();
    let failsafe =
        onex_breaker_failsafe::open(Default::default(), Arc::new(clock.clone()), 0).expect("the defaults");
    each_change_is_traced("failsafe", traced(failsafe, &clock).await);
}
