//! A running program, and a way to speak HTTP to it.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use onex_http_client::HttpClientBuilder;
use onex_spi::TokioClock;
use onex_spi::http::{HttpClient, HttpClientExt};
use onex_spi::provider::OpenContext;
use tempfile::TempDir;

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A file in a folder of its own.
pub(crate) struct File {
    _folder: TempDir,
    pub(crate) path: PathBuf,
}

impl File {
    pub(crate) fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("onex.toml");
        std::fs::write(&path, text).expect("written");
        Self { _folder: folder, path }
    }
}

pub(crate) fn program(arguments: &[&str], file: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onex-bridge"));
    command.arg(arguments[0]).arg(file).args(&arguments[1..]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A program that runs; killed where a test ends without ending it.
pub(crate) struct Running {
    /// Read by the program while it starts.
    _file: File,
    child: Child,
    lines: Receiver<String>,
    errors: Option<std::thread::JoinHandle<String>>,
}

impl Running {
    pub(crate) fn start(file: File, more: &[&str]) -> Self {
        let mut child = program(&[&["run"], more].concat(), &file.path).spawn().expect("the program starts");
        let (lines, stderr) = (child.stdout.take().map(read_lines), child.stderr.take());
        let errors = stderr.map(|mut stderr| {
            std::thread::spawn(move || {
                let mut text = String::new();
                let _ = stderr.read_to_string(&mut text);
                text
            })
        });
        Self { _file: file, child, lines: lines.expect("stdout is piped"), errors }
    }

    /// What stands behind `prefix` in the next line of standard output that has it.
    pub(crate) fn told(&self, prefix: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect("the program says it");
            if let Some((_, rest)) = line.split_once(prefix) {
                return rest.to_owned();
            }
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Waits for its end; answers how it ended and what it wrote to standard error.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().expect("it ends");
        let errors = self.errors.take().and_then(|errors| errors.join().ok()).unwrap_or_default();
        (status, errors)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_lines(stdout: ChildStdout) -> Receiver<String> {
    let (line, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for text in BufReader::new(stdout).lines().map_while(Result::ok) {
            if line.send(text).is_err() {
                return;
            }
        }
    });
    lines
}

pub(crate) async fn client() -> Arc<dyn HttpClient> {
    let clock = Arc::new(TokioClock::new());
    let context = OpenContext::new(clock.clone(), 1);
    let transport = onex_http_transport_hyper::open(onex_http_transport_hyper::Config::default(), &context);
    HttpClientBuilder::new(transport.await.expect("a transport"), clock).build().expect("a client")
}

/// Status, content type and body.
pub(crate) async fn get(client: &Arc<dyn HttpClient>, url: &str) -> (u16, String, String) {
    let answer = client.get(url).send().await.expect("an answer");
    let status = answer.status.as_u16();
    let kind = answer.headers.get("content-type").map(|kind| kind.to_str().expect("text").to_owned());
    let body = answer.into_body().bytes(1 << 20).await.expect("a body");
    (status, kind.unwrap_or_default(), String::from_utf8(body.to_vec()).expect("text"))
}

pub(crate) async fn post(client: &Arc<dyn HttpClient>, url: &str, body: &str) -> (u16, String) {
    let answer = client.post(url).body(body.to_owned()).send().await.expect("an answer");
    let status = answer.status.as_u16();
    let body = answer.into_body().bytes(1 << 20).await.expect("a body");
    (status, String::from_utf8(body.to_vec()).expect("text"))
}
