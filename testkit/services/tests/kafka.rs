//! Kafka starts, dies, comes back and leaves nothing behind.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use onex_services::{Kafka, required};

/// Tells whether to run; a machine without Java is no failure unless the environment says so.
fn runs() -> bool {
    match Kafka::available() {
        Ok(()) => true,
        Err(reason) if required() => panic!("{reason}"),
        Err(reason) => {
            eprintln!("ignored: {reason}");
            false
        }
    }
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// Waits until the other side closes the connection, in order or not.
fn closes(mut stream: TcpStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// The processes whose command line names this directory.
#[cfg(target_os = "linux")]
fn processes_of(directory: &Path) -> usize {
    let directory = directory.to_str().unwrap();
    let lines =
        fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(directory)).count()
}

#[tokio::test]
async fn a_killed_node_comes_back_on_its_data_and_stop_leaves_nothing() {
    if !runs() {
        return;
    }
    let kafka = Kafka::builder().start().await.unwrap();
    let address = kafka.bootstrap_servers()[0].clone();
    let directory = kafka.directory().to_owned();
    let before = connect(&address);
    let identity = fs::read(directory.join("node-1/data/meta.properties")).unwrap();

    kafka.kill(1).await.unwrap();
    assert!(closes(before));
    assert!(TcpStream::connect(&address).is_err(), "a killed node listens");
    kafka.kill(1).await.expect("killing a node that is down does nothing");

    kafka.restart(1).await.unwrap();
    let after = connect(&address);
    assert_eq!(fs::read(directory.join("node-1/data/meta.properties")).unwrap(), identity);
    #[cfg(target_os = "linux")]
    assert_eq!(processes_of(&directory), 2, "the broker and its supervisor");

    kafka.stop().await.unwrap();
    assert!(closes(after));
    assert!(!directory.exists());
    #[cfg(target_os = "linux")]
    assert_eq!(processes_of(&directory), 0);
}

#[tokio::test]
async fn three_nodes_start_and_drop_leaves_nothing() {
    if !runs() {
        return;
    }
    let kafka = Kafka::builder().nodes(3).heap(128 << 20).start().await.unwrap();
    let directory = kafka.directory().to_owned();
    let streams: Vec<_> = kafka.bootstrap_servers().iter().map(|address| connect(address)).collect();
    assert_eq!(streams.len(), 3);
    assert!(kafka.kill(4).await.is_err(), "there is no node 4");

    drop(kafka);
    assert!(streams.into_iter().all(closes));
    assert!(!directory.exists());
    #[cfg(target_os = "linux")]
    assert_eq!(processes_of(&directory), 0);
}

#[test]
fn the_program_names_its_address_and_its_death_ends_the_broker() {
    if !runs() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let port_file = folder.path().join("kafka");
    let mut program = Command::new(env!("CARGO_BIN_EXE_onex-services"))
        .args(["kafka", "--nodes", "1", "--port-file"])
        .arg(&port_file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(program.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("bootstrap_servers=").expect("one line names the address");
    assert_eq!(fs::read_to_string(&port_file).unwrap().trim(), address);

    let stream = connect(address);
    program.kill().unwrap();
    program.wait().unwrap();
    assert!(closes(stream), "the broker outlives a program that was killed");
}

#[test]
fn a_wrong_command_line_shows_the_usage() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_onex-services")).args(["kafka", "--nodes"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("usage:"));
}
