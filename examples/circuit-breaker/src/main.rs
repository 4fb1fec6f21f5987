//! Configures a circuit, calls through it, trips it, lets it recover and prints what it counted. Rows ONEX-EX-06, ONEX-EX-10.
//!
//! `cargo run -p example-circuit-breaker` runs on the native breaker, `-- failsafe` on the other one: the output is the same.
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, ValueEnum};
use example_circuit_breaker::program;
use onex_spi::Result;
use onex_spi::breaker::CircuitBreaker;
use onex_testkit::clock::ManualClock;

/// Trips a circuit and lets it recover.
#[derive(Debug, Parser)]
struct Arguments {
    /// The breaker
    #[arg(value_enum, default_value = "native")]
    engine: Engine,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Engine {
    Native,
    Failsafe,
}

/// The one place that knows which breaker it is.
fn open(engine: Engine, clock: &ManualClock) -> Result<Arc<dyn CircuitBreaker>> {
    match engine {
        Engine::Native => onex_breaker_native::open(Default::default(), Arc::new(clock.clone())),
        Engine::Failsafe => onex_breaker_failsafe::open(Default::default(), Arc::new(clock.clone()), 0),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let clock = ManualClock::new();
    let ended = match open(Arguments::parse().engine, &clock) {
        Ok(breaker) => program::run(&*breaker, &clock).await,
        Err(error) => Err(error),
    };
    let told = match &ended {
        Ok(report) => write!(std::io::stdout(), "{report}"),
        Err(error) => writeln!(std::io::stderr(), "circuit-breaker: {error}"),
    };
    if ended.is_ok() && told.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
