//! Threads for calls that block: librdkafka's answers to metadata, commits and the like never wait on a runtime thread.
//!
//! ```text
//!  run(job).await ─► queue (bounded) ─► up to `most` threads, made on demand, ended when idle ─► oneshot
//! ```

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use onex_spi::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

/// How long a thread waits for its next job; the machine's time, because no law depends on it.
const IDLE: Duration = Duration::from_secs(10);
/// The most jobs that wait.
const WAITING: usize = 4096;

type Job = Box<dyn FnOnce() + Send>;

/// A few threads for blocking jobs; dropping it ends them after their current job.
#[derive(Debug)]
pub(crate) struct Workers {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: &'static str,
    most: usize,
    state: Mutex<State>,
    /// A job came, or the end.
    changed: Condvar,
    /// A thread ended.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    closed: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let State { jobs, threads, idle, closed } = self;
        let counts = (jobs.len(), threads, idle, closed);
        write!(f, "{counts:?}")
    }
}

impl Workers {
    /// Makes a pool of at most `most` threads; none runs before the first job.
    pub(crate) fn new(name: &'static str, most: usize) -> Self {
        let (changed, ended) = (Condvar::new(), Condvar::new());
        Self { shared: Arc::new(Shared { name, most, state: Mutex::default(), changed, ended }) }
    }

    /// Runs a blocking job on a thread of the pool.
    ///
    /// Dropping the future takes a job that has not begun out of the queue; one that runs ends by itself.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        self.submit(
            operation,
            Box::new(move || {
                if !answer.is_closed() {
                    // Nobody waits any more: nothing is lost with the answer.
                    let _ = answer.send(job());
                }
            }),
        )?;
        answered.await.map_err(|_| {
            // The pool was closed before the job began, or the job panicked.
            match self.shared.lock().closed {
                true => Error::closed(operation, "the client"),
                false => {
                    Error::new(ErrorKind::Unclassified, operation, "the engine's thread panicked; report it")
                }
            }
        })
    }

    /// Runs a job that nobody waits for, if there is room for it.
    pub(crate) fn begin(&self, operation: &'static str, job: impl FnOnce() + Send + 'static) {
        if let Err(error) = self.submit(operation, Box::new(job)) {
            tracing::debug!(%error, "a job behind the scenes was left out");
        }
    }

    fn submit(&self, operation: &'static str, job: Job) -> Result<()> {
        let shared = &self.shared;
        let mut state = shared.lock();
        if state.closed {
            return Err(Error::closed(operation, "the client"));
        }
        if state.jobs.len() >= WAITING {
            let text = format!("{WAITING} calls wait for the brokers already; make fewer at a time");
            return Err(Error::new(ErrorKind::ResourceExhausted, operation, text).not_applied());
        }
        if state.idle <= state.jobs.len() && state.threads < shared.most {
            let worker = Arc::clone(shared);
            let spawned = thread::Builder::new().name(shared.name.into()).spawn(move || worker.serve());
            match spawned {
                Ok(_) => state.threads += 1,
                // The threads that are there will come to the job.
                Err(_) if state.threads > 0 => {}
                Err(error) => {
                    let text = "the system gives no further thread; end others first";
                    let error = Error::new(ErrorKind::ResourceExhausted, operation, text).with_source(error);
                    return Err(error.not_applied());
                }
            }
        }
        state.jobs.push_back(job);
        shared.changed.notify_one();
        Ok(())
    }

    /// Takes no further job, forgets those that wait and blocks until those that run have ended.
    pub(crate) fn finish(&self) {
        self.close();
        let mut state = self.shared.lock();
        while state.threads > 0 {
            state = self.shared.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn close(&self) {
        let forgotten = {
            let mut state = self.shared.lock();
            state.closed = true;
            std::mem::take(&mut state.jobs)
        };
        self.shared.changed.notify_all();
        drop(forgotten);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                // The waiter sees the end of its channel; the thread serves the others.
                let _ = catch_unwind(AssertUnwindSafe(job));
                state = self.lock();
            } else if state.closed {
                break;
            } else {
                state.idle += 1;
                let (back, waited) =
                    self.changed.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
                state = back;
                state.idle -= 1;
                if waited.timed_out() && state.jobs.is_empty() {
                    break;
                }
            }
        }
        state.threads -= 1;
        self.ended.notify_all();
    }
}

/// A native handle whose end blocks: it is dropped on a thread of its own, wherever the last owner is dropped.
#[derive(Debug)]
pub(crate) struct Reaped<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> Reaped<T> {
    pub(crate) fn new(handle: T) -> Self {
        Self(Some(handle))
    }
}

impl<T: Send + 'static> std::ops::Deref for Reaped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // Taken only by `drop`.
        self.0.as_ref().unwrap_or_else(|| unreachable!("a reaped handle is not used"))
    }
}

impl<T: Send + 'static> Drop for Reaped<T> {
    fn drop(&mut self) {
        let handle = self.0.take();
        // Where the system gives no thread the closure, and with it the handle, ends right here: slow, but not leaked.
        let _ = thread::Builder::new().name("onex-kafka-end".into()).spawn(move || drop(handle));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn jobs_of_one_thread_run_in_order_and_a_panic_ends_only_its_own() {
        let workers = Workers::new("test", 1);
        let panicked = workers.run("kafka.test", || panic!("boom")).await.map(|(): ()| ());
        assert_eq!(panicked.unwrap_err().kind(), ErrorKind::Unclassified);
        assert_eq!(workers.run("kafka.test", || 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn finish_waits_for_what_runs_and_forgets_what_waits() {
        let workers = Arc::new(Workers::new("test", 1));
        let (begun, has_begun) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let runs = workers.run("kafka.test", move || {
            begun.send(()).unwrap();
            released.recv().unwrap();
            1
        });
        let mut runs = Box::pin(runs);
        let waits = workers.run("kafka.test", || 2);
        let mut waits = Box::pin(waits);
        assert!(poll_once(&mut runs).is_none() && poll_once(&mut waits).is_none());
        has_begun.recv().unwrap();
        let finishing = {
            let workers = Arc::clone(&workers);
            thread::spawn(move || workers.finish())
        };
        assert_eq!(waits.await.unwrap_err().kind(), ErrorKind::Closed);
        release.send(()).unwrap();
        finishing.join().unwrap();
        assert_eq!(runs.await.unwrap(), 1);
        assert_eq!(workers.run("kafka.test", || 3).await.unwrap_err().kind(), ErrorKind::Closed);
    }

    fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::Pin::new(future).poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
