//! A program that does not outlive its owner.

use std::{
    collections::VecDeque,
    ffi::OsStr,
    io::{BufRead, BufReader, PipeWriter, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use crate::ServiceError;

/// The log lines kept for an error.
const LOG_LINES: usize = 80;

/// Runs a program under words from a pipe. Signals come from the shell that is the program's parent and the only one to
/// reap it, so they never reach a stranger's process. The end of the pipe means that the owner is gone, killed perhaps.
const SUPERVISOR: &str = r#"
directory=$1; shift
"$@" </dev/null 2>&1 & child=$!
exec >/dev/null 2>&1
while read -r word; do
  case $word in
    (stop) kill -TERM $child ;;
    (kill) kill -KILL $child ;;
    (end) wait $child; exit $? ;;
  esac
done
kill -KILL $child
wait $child
[ -z "$directory" ] || rm -rf -- "$directory"
"#;

/// What the log has told so far.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    ready: bool,
    address_in_use: bool,
    /// The program closed its output: it is gone.
    closed: bool,
}

#[derive(Debug)]
pub(crate) struct Process {
    program: String,
    supervisor: Child,
    words: PipeWriter,
    seen: watch::Receiver<Seen>,
    log: Arc<Mutex<VecDeque<String>>>,
    reaped: bool,
}

impl Process {
    /// Starts `command`; it is ready when its output holds `ready_line`.
    ///
    /// `directory` is what to remove when the owner dies without a word; `died` is notified when the program is gone.
    pub(crate) fn spawn(
        program: impl Into<String>,
        command: &[impl AsRef<OsStr>],
        directory: &Path,
        ready_line: &'static str,
        died: Arc<Notify>,
    ) -> Result<Self, ServiceError> {
        let program = program.into();
        let failed = |source| ServiceError::Io { doing: format!("starting {program}"), source };
        let (stdin, words) = std::io::pipe().map_err(failed)?;
        let mut supervisor = Command::new("sh")
            .args(["-c", SUPERVISOR, "onex-services"])
            .arg(directory)
            .args(command)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Ctrl-C in a terminal is for the owner, who then stops the program in order.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let output = supervisor.stdout.take().expect("stdout is piped");
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let (tell, seen) = watch::channel(Seen::default());
        // A thread and not a task: a broker may be shared by tests that each have their own runtime, and must never
        // block on a full pipe because the runtime that started it has ended.
        let lines = Arc::clone(&log);
        thread::Builder::new()
            .name(format!("log of {program}"))
            .spawn(move || {
                read_log(BufReader::new(output), ready_line, &lines, &tell);
                tell.send_modify(|seen| seen.closed = true);
                died.notify_waiters();
            })
            .map_err(failed)?;
        Ok(Self { program, supervisor, words, seen, log, reaped: false })
    }

    /// Waits until the ready line is written.
    pub(crate) async fn ready(&self, within: Duration) -> Result<(), ServiceError> {
        let mut seen = self.seen.clone();
        let told = timeout(within, seen.wait_for(|seen| seen.ready || seen.closed)).await;
        match told {
            Ok(Ok(seen)) if seen.ready => Ok(()),
            Ok(_) => Err(self.ended()),
            Err(_) => Err(self.timed_out(within)),
        }
    }

    /// Waits until the program ends by itself.
    ///
    /// The program is killed when time is up or this future is dropped.
    pub(crate) async fn exit(mut self, within: Duration) -> Result<(), ServiceError> {
        if !self.closes(within).await {
            return Err(self.timed_out(within));
        }
        let status = self.reap();
        if status.is_some_and(|status| status.success()) { Ok(()) } else { Err(self.ended()) }
    }

    /// Asks the program to end (SIGTERM), kills it when it has not ended in time.
    pub(crate) async fn stop(mut self, within: Duration) -> Result<(), ServiceError> {
        self.say("stop");
        if !self.closes(within).await {
            return self.kill().await;
        }
        self.reap();
        Ok(())
    }

    /// Kills the program (SIGKILL) and waits until it is gone.
    pub(crate) async fn kill(mut self) -> Result<(), ServiceError> {
        const WITHIN: Duration = Duration::from_secs(10);
        self.say("kill");
        if !self.closes(WITHIN).await {
            return Err(self.timed_out(WITHIN));
        }
        self.reap();
        Ok(())
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.seen.borrow().closed
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    pub(crate) fn ended(&self) -> ServiceError {
        let (program, log) = (self.program.clone(), self.log());
        if self.seen.borrow().address_in_use {
            ServiceError::AddressInUse { program, log }
        } else {
            ServiceError::Ended { program, log }
        }
    }

    fn timed_out(&self, after: Duration) -> ServiceError {
        ServiceError::TimedOut { program: self.program.clone(), after, log: self.log() }
    }

    async fn closes(&self, within: Duration) -> bool {
        let mut seen = self.seen.clone();
        timeout(within, seen.wait_for(|seen| seen.closed)).await.is_ok()
    }

    fn say(&mut self, word: &str) {
        // A supervisor that is gone has nothing left to do.
        let _ = writeln!(self.words, "{word}");
    }

    /// Blocks until the program and its supervisor are gone: a moment, since the program has ended or is killed.
    fn reap(&mut self) -> Option<ExitStatus> {
        self.say("end");
        self.reaped = true;
        self.supervisor.wait().ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.reaped {
            self.say("kill");
            self.reap();
        }
    }
}

fn read_log(
    mut output: impl BufRead,
    ready_line: &str,
    log: &Mutex<VecDeque<String>>,
    tell: &watch::Sender<Seen>,
) {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if !matches!(output.read_until(b'\n', &mut bytes), Ok(1..)) {
            return;
        }
        let line = String::from_utf8_lossy(&bytes);
        let line = line.trim_end();
        // Frames of a stack trace would push out the line that says what happened.
        if line.is_empty() || line.starts_with("\tat ") {
            continue;
        }
        {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            if log.len() == LOG_LINES {
                log.pop_front();
            }
            log.push_back(line.to_owned());
        }
        if !ready_line.is_empty() && line.contains(ready_line) {
            tell.send_modify(|seen| seen.ready = true);
        }
        if line.contains("Address already in use") {
            tell.send_modify(|seen| seen.address_in_use = true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Process {
        let command = ["sh", "-c", script];
        Process::spawn("script", &command, Path::new(""), "listening", Arc::default()).unwrap()
    }

    #[tokio::test]
    async fn the_ready_line_is_awaited_and_sigterm_ends_the_program() {
        let process = shell("echo listening; exec sleep 1000");
        process.ready(SOON).await.unwrap();
        process.stop(SOON).await.unwrap();
    }

    #[tokio::test]
    async fn a_program_that_ends_before_it_is_ready_is_an_error_with_its_log() {
        let process = shell("echo one; echo ERROR two >&2; exit 3");
        let error = process.ready(SOON).await.unwrap_err();
        assert_eq!(error.to_string(), "script ended: ERROR two");
        assert_eq!(error.log(), ["one", "ERROR two"]);
        assert!(process.exit(SOON).await.is_err(), "the exit status is a failure");
    }

    #[tokio::test]
    async fn a_taken_port_is_told_apart() {
        let process = shell("echo 'BindException: Address already in use'; exit 1");
        assert!(matches!(process.ready(SOON).await, Err(ServiceError::AddressInUse { .. })));
    }

    #[tokio::test]
    async fn stop_is_bounded_and_then_kills() {
        let process = shell("trap '' TERM; echo listening; exec sleep 1000");
        process.ready(SOON).await.unwrap();
        process.stop(Duration::from_millis(100)).await.unwrap();
    }
}
