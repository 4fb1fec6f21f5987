//! Runs a service in the foreground until SIGINT or SIGTERM.

#![forbid(unsafe_code)]

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use onex_services::{Kafka, ServiceError};
use tokio::signal::unix::{Signal, SignalKind, signal};

const USAGE: &str = "usage: onex-services kafka [--nodes 1|3] [--port-file FILE]

Runs Apache Kafka on 127.0.0.1 and prints bootstrap_servers=HOST:PORT[,HOST:PORT] when it is ready;
the port file then holds HOST:PORT[,HOST:PORT]. SIGINT and SIGTERM stop it.";

#[derive(Debug)]
struct Arguments {
    nodes: usize,
    port_file: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let Some(arguments) = parse(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match run(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("onex-services: error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: &[String]) -> Option<Arguments> {
    let (service, mut options) = arguments.split_first()?;
    let mut parsed = Arguments { nodes: 1, port_file: None };
    while let [option, value, rest @ ..] = options {
        match option.as_str() {
            "--nodes" => parsed.nodes = value.parse().ok()?,
            "--port-file" => parsed.port_file = Some(value.into()),
            _ => return None,
        }
        options = rest;
    }
    (service == "kafka" && options.is_empty()).then_some(parsed)
}

async fn run(arguments: &Arguments) -> Result<(), ServiceError> {
    let listening = |source| io_error("listening for signals", source);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(listening)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(listening)?;

    let kafka = tokio::select! {
        started = Kafka::builder().nodes(arguments.nodes).start() => started?,
        () = either(&mut interrupt, &mut terminate) => return Ok(()),
    };
    let servers = kafka.bootstrap_servers().join(",");
    if let Some(file) = &arguments.port_file {
        announce(file, &servers)
            .map_err(|source| io_error(&format!("writing {}", file.display()), source))?;
    }
    writeln!(io::stdout(), "bootstrap_servers={servers}")
        .map_err(|source| io_error("writing the address", source))?;

    let outcome = tokio::select! {
        error = kafka.ended() => Err(error),
        () = either(&mut interrupt, &mut terminate) => Ok(()),
    };
    if let Some(file) = &arguments.port_file {
        // A file that someone has removed already is as good.
        let _ = fs::remove_file(file);
    }
    let stopped = kafka.stop().await;
    outcome.and(stopped)
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

/// Writes beside the file and renames, so that whoever waits for the file never reads half of it.
fn announce(file: &Path, servers: &str) -> io::Result<()> {
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(".unfinished");
    fs::write(&unfinished, format!("{servers}\n"))?;
    fs::rename(&unfinished, file)
}

fn io_error(doing: &str, source: io::Error) -> ServiceError {
    ServiceError::Io { doing: doing.to_owned(), source }
}
