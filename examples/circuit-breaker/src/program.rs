//! What happens to the circuit, step by step, told as text.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use onex_spi::breaker::{
    Circuit, CircuitBreaker, CircuitBreakerConfig, CircuitBreakerExt, CircuitExt, CircuitMetrics,
    ExecuteError,
};
use onex_spi::{Clock, Error, Result};
use onex_testkit::clock::ManualClock;

use crate::prices::{self, Answer, Mood};

const NAME: &str = "prices";
const SECOND: Duration = Duration::from_secs(1);

/// Plays the story on `breaker`, which decides on `clock`, and tells it.
///
/// # Errors
/// What the breaker refuses.
pub async fn run(breaker: &dyn CircuitBreaker, clock: &ManualClock) -> Result<String> {
    let config = CircuitBreakerConfig::new()
        .with_failure_threshold(3)
        .with_open_time(10 * SECOND)
        .with_success_threshold(2)
        .with_call_timeout(Some(SECOND));
    breaker.configure_circuit_breaker(NAME, config)?;
    let circuit = breaker.circuit(NAME)?;
    let mut shop = Shop { circuit, clock, begin: clock.now(), told: String::new() };
    let status = |status| Mood::Answers(Answer::status(status));

    shop.title("Closed: calls run, and only what speaks against the service is a failure");
    shop.ask("tea", status(200)).await;
    shop.ask("gold", status(404)).await;
    shop.ask("", status(200)).await;

    shop.title("Three failures in a row open the circuit");
    shop.ask("tea", status(503)).await;
    shop.ask("tea", Mood::Down).await;
    shop.ask("tea", Mood::Hangs).await;

    shop.title("Open: the service is left alone, and callers are told when to come back");
    shop.ask("tea", status(200)).await;
    let usual = |_: ExecuteError<Error>| "the price of yesterday".to_owned();
    let priced = || async { Ok("a price".to_owned()) };
    let price = breaker.execute_with_fallback(NAME, None, priced, usual).await;
    shop.tell("with a fallback", price);

    shop.pass(10 * SECOND);
    shop.title("Half-open: one probe at a time; a failed one opens again");
    shop.ask("tea", status(500)).await;
    shop.pass(10 * SECOND);

    shop.title("Two probes that succeed close the circuit");
    shop.ask("tea", status(200)).await;
    shop.ask("tea", status(200)).await;

    shop.title("A result that names its own time opens at once");
    shop.ask("tea", Mood::Answers(Answer { status: 429, retry_after: Some(30 * SECOND) })).await;
    shop.ask("tea", status(200)).await;

    shop.title("An operator has the last word");
    breaker.reset_circuit_breaker(NAME)?;
    shop.ask("tea", status(200)).await;
    breaker.force_circuit_open(NAME)?;
    shop.ask("tea", status(200)).await;
    breaker.reset_circuit_breaker(NAME)?;

    shop.title("What the circuit counted");
    let metrics = breaker.circuit_metrics(NAME)?;
    let Shop { begin, mut told, .. } = shop;
    let _ = write!(told, "{}", Counted(&metrics, begin));
    for (name, status) in breaker.all_circuit_states() {
        let _ = writeln!(told, "  circuit {name}: {:?}", status.state);
    }
    Ok(told)
}

struct Shop<'a> {
    circuit: Arc<dyn Circuit>,
    clock: &'a ManualClock,
    begin: Instant,
    told: String,
}

impl Shop<'_> {
    /// Asks for a price through the circuit; a call that hangs makes its whole time limit pass.
    async fn ask(&mut self, item: &str, mood: Mood) {
        let call = self.circuit.call_classified(None, || prices::ask(item, mood), prices::judge);
        let result = match mood {
            Mood::Hangs => {
                let limit = async {
                    self.clock.until_waiting(1).await;
                    self.clock.advance(SECOND);
                };
                tokio::join!(call, limit).0
            }
            Mood::Answers(_) | Mood::Down => call.await,
        };
        let item = if item.is_empty() { "an item without a name" } else { item };
        let said = match result {
            Ok(Answer { status, .. }) => status.to_string(),
            Err(error) => error.to_string(),
        };
        self.tell(item, said);
    }

    fn tell(&mut self, what: &str, said: impl fmt::Display) {
        let (time, state) = (self.clock.now() - self.begin, self.circuit.status().state);
        let _ = writeln!(self.told, "  {:>3}s  {what} -> {said} [{state:?}]", time.as_secs());
    }

    fn title(&mut self, title: &str) {
        let _ = writeln!(self.told, "{title}");
    }

    /// A real program waits; this one turns the clock.
    fn pass(&mut self, time: Duration) {
        self.clock.advance(time);
        self.tell("time passes", format_args!("{}s later", time.as_secs()));
    }
}

/// The metrics of a circuit, times counted from a begin.
struct Counted<'a>(&'a CircuitMetrics, Instant);

impl fmt::Display for Counted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(metrics, begin) = self;
        let ended = [
            ("succeeded", metrics.success_count),
            ("failed", metrics.failure_count),
            ("out of time", metrics.timeout_count),
            ("ignored", metrics.ignored_count),
            ("cancelled", metrics.cancelled_count),
            ("abandoned", metrics.abandoned_count),
        ];
        let parts: Vec<_> = ended.iter().map(|(what, count)| format!("{count} {what}")).collect();
        writeln!(f, "  {} admitted = {}", metrics.admitted_count, parts.join(" + "))?;
        writeln!(f, "  {} rejected, {} changes of state", metrics.rejected_count, metrics.state_transitions)?;
        for change in &metrics.recent_transitions {
            let (at, forced) = (change.at - *begin, if change.to.forced { ", forced" } else { "" });
            let (from, to, cause) = (change.from.state, change.to.state, change.cause);
            writeln!(f, "  {:>3}s  {from:?} -> {to:?}{forced} ({cause:?})", at.as_secs())?;
        }
        Ok(())
    }
}
