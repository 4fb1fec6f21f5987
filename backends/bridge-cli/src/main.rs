//! `onex-bridge run FILE` moves messages as the file says until it is told to stop; `onex-bridge check FILE` only reads.
//!
//! Exit code 0: drained in time, or good. 1: something failed while it ran. 2: the command line or the file is wrong. 130, 143: a second
//! SIGINT or SIGTERM ended it at once.
#![forbid(unsafe_code)]

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use onex_bridge_cli::{Bridges, BridgesBuilder, Status};
use onex_environment::Environment;
use onex_spi::provider::OpenContext;
use onex_spi::{Error, ErrorKind, Result, SystemClock};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How often the live line and the log say how far it is.
const LIVE: Duration = Duration::from_millis(250);
const LOGGED: Duration = Duration::from_secs(60);

/// Moves messages between protocols, by rules, with nothing lost.
#[derive(Debug, Parser)]
#[command(name = "onex-bridge", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the bridges of a file until SIGTERM or SIGINT, then drains them
    Run {
        /// Engines by name, and [bridges.NAME]
        file: PathBuf,
        /// The profile of the file
        #[arg(long, default_value = "default")]
        profile: String,
        /// Where /healthz, /readyz and /metrics are answered; port 0 is any free one
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
        status: SocketAddr,
        /// How long messages in flight may take once it is told to stop
        #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
        drain: Duration,
    },
    /// Says everything that is wrong with a file, and opens nothing
    Check {
        /// Engines by name, and [bridges.NAME]
        file: PathBuf,
        /// The profile of the file
        #[arg(long, default_value = "default")]
        profile: String,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("onex-bridge: the runtime cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(async {
        match arguments.command {
            Command::Check { file, profile } => check(file, &profile).await,
            Command::Run { file, profile, status, drain } => run(file, &profile, status, drain).await,
        }
    });
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("onex-bridge: {}", error.message());
            match error.kind() {
                ErrorKind::InvalidInput | ErrorKind::NotFound | ErrorKind::PermissionDenied => {
                    ExitCode::from(2)
                }
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// JSON lines where nobody watches, readable ones where somebody does.
fn log() {
    let builder = tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        builder.with_target(false).without_time().with_ansi(false).init();
    } else {
        builder.json().flatten_event(true).init();
    }
}

fn builder() -> BridgesBuilder {
    let engines = Environment::builder()
        .clock(Arc::new(SystemClock::new()))
        .with(onex_memory::provider())
        .with(onex_breaker_native::provider())
        .with(onex_http_server_hyper::provider())
        .with(onex_http_transport_hyper::provider());
    #[cfg(feature = "rdkafka")]
    let engines = engines.with(onex_kafka_rdkafka::provider());
    Bridges::builder(engines)
}

async fn check(file: PathBuf, profile: &str) -> Result<()> {
    builder().check(&file, profile).await?;
    say(&format!("{}: the profile {profile} is good", file.display()));
    Ok(())
}

async fn run(file: PathBuf, profile: &str, address: SocketAddr, drain: Duration) -> Result<()> {
    let mut stops = Stops::new()?;
    let bridges = tokio::select! {
        biased;
        // Nothing runs yet, so there is nothing to drain.
        _ = stops.next() => return Ok(()),
        loaded = builder().load(&file, profile) => loaded?,
    };
    let mut status = Status::new(bridges.bridge().clone());
    if let Ok(breaker) = bridges.environment().circuit_breaker() {
        status = status.with_breaker(breaker);
    }
    let status = Arc::new(status);
    let context = OpenContext::new(Arc::new(SystemClock::new()), 0);
    let server = onex_http_server_hyper::open(onex_http_server_hyper::Config::default(), &context).await?;
    let serving = match server.serve(address, status.clone()).await {
        Ok(serving) => serving,
        Err(error) => {
            bridges.close(drain).await?;
            let message = format!("--status {address}: {}", error.message());
            return Err(Error::new(ErrorKind::InvalidInput, "status.serve", message));
        }
    };
    for running in bridges.running() {
        say(&format!("bridge {}: {} to {}", running.name, running.source, running.target));
    }
    for listening in bridges.listening() {
        say(&format!("bridge {} listens at {}", listening.bridge, listening.url));
    }
    say(&format!("status at http://{}", serving.local_addr()));

    let live = Live::new();
    let ended = tokio::select! {
        biased;
        name = stops.next() => {
            tracing::info!(signal = name, ?drain, "draining; a second signal stops at once");
            Ok(())
        }
        ended = watch(&bridges, &live) => ended,
    };
    // The counters end with the bridges.
    live.end(&bridges);
    status.drain();
    let closed = tokio::select! {
        biased;
        code = stops.next_code() => {
            eprintln!("onex-bridge: stopped at once; what was in flight is not acknowledged");
            std::process::exit(code);
        }
        closed = bridges.close(drain) => closed,
    };
    serving.close(Duration::from_secs(1)).await?;
    ended.and(closed)
}

/// Tells how far it is until no source can bring anything more.
async fn watch(bridges: &Bridges, live: &Live) -> Result<()> {
    let mut ticks = tokio::time::interval(if live.is_seen() { LIVE } else { Duration::from_secs(1) });
    let mut logged = tokio::time::Instant::now();
    loop {
        ticks.tick().await;
        live.show(bridges);
        if !live.is_seen() && logged.elapsed() >= LOGGED {
            logged = tokio::time::Instant::now();
            log_counters(bridges);
        }
        match bridges.over() {
            None => {}
            Some(None) => return Ok(()),
            Some(Some(error)) => {
                let message = format!("every source has ended: {}", error.message());
                return Err(Error::new(ErrorKind::Closed, "bridges.run", message).with_source(error));
            }
        }
    }
}

fn log_counters(bridges: &Bridges) {
    for running in bridges.running() {
        if let Ok(metrics) = bridges.bridge().bridge_metrics(running.id) {
            let ledger = metrics.ledger;
            tracing::info!(
                bridge = &*running.name,
                received = ledger.received,
                delivered = ledger.delivered,
                dead_lettered = ledger.dead_lettered,
                failed = ledger.failed,
                filtered = ledger.filtered,
                in_flight = ledger.in_flight,
                "so far"
            );
        }
    }
}

/// One line that is written anew on a terminal, and nothing elsewhere.
struct Live(Option<ProgressBar>);

impl Live {
    fn new() -> Self {
        Self(std::io::stderr().is_terminal().then(|| {
            let line = ProgressBar::new_spinner();
            line.set_style(
                ProgressStyle::with_template("{spinner} {msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            line
        }))
    }

    fn is_seen(&self) -> bool {
        self.0.is_some()
    }

    fn show(&self, bridges: &Bridges) {
        let Some(line) = &self.0 else { return };
        let of = |running: &onex_bridge_cli::RunningBridge| {
            let ledger = bridges.bridge().bridge_metrics(running.id).ok()?.ledger;
            let bad = ledger.dead_lettered + ledger.failed;
            Some(format!(
                "{}: {} in, {} out, {bad} bad, {} in flight",
                running.name, ledger.received, ledger.delivered, ledger.in_flight
            ))
        };
        let all: Vec<String> = bridges.running().iter().filter_map(of).collect();
        line.set_message(all.join(" | "));
        line.tick();
    }

    fn end(&self, bridges: &Bridges) {
        match &self.0 {
            Some(line) => line.finish_and_clear(),
            None => log_counters(bridges),
        }
    }
}

/// The signals that end the program.
struct Stops {
    terminate: Signal,
    interrupt: Signal,
}

impl Stops {
    fn new() -> Result<Self> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Error::new(ErrorKind::Unavailable, "bridges.run", "signals cannot be listened to")
                    .with_source(error)
            })
        };
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// The exit code that shells give a program that a signal ended.
    async fn next_code(&mut self) -> i32 {
        if self.next().await == "SIGTERM" { 143 } else { 130 }
    }
}

/// Writes a line for whoever reads along; that nobody does is no fault.
fn say(line: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
