//! What a server saw: connections, heads and bodies as they arrived.

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;

/// One request as raw bytes.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Received {
    /// The connection that it came on, from 0.
    pub connection: usize,
    /// The head with its last empty line.
    pub head: Bytes,
    /// What was read of the body, framing included.
    pub body: Bytes,
    /// Whether the body was read to its end.
    pub complete: bool,
}

impl Received {
    /// The request line.
    #[must_use]
    pub fn request_line(&self) -> String {
        self.lines().next().unwrap_or_default()
    }

    /// The values of the header `name`, in order.
    #[must_use]
    pub fn headers(&self, name: &str) -> Vec<String> {
        self.lines()
            .skip(1)
            .filter_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
            .collect()
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        self.head
            .split(|byte| *byte == b'\n')
            .map(|line| String::from_utf8_lossy(line).trim_end_matches('\r').to_owned())
    }
}

/// Which exchange a script answers.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The connection, from 0.
    pub connection: usize,
    /// The number of this request on its connection, from 0.
    pub on_connection: usize,
    /// The number of this request on the server, from 0.
    pub number: usize,
    /// The raw head.
    pub head: Bytes,
}

/// What a scripted server saw; clones share it, and it outlives the server.
#[derive(Clone)]
pub struct Log(Arc<watch::Sender<State>>);

#[derive(Default)]
struct State {
    /// By connection: whether it still lives.
    connections: Vec<bool>,
    requests: Vec<Entry>,
    bytes_accepted: u64,
}

struct Entry {
    connection: usize,
    head: Bytes,
    body: BytesMut,
    complete: bool,
}

impl Log {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(State::default())))
    }

    pub(super) fn connected(&self) -> Connected {
        let mut number = 0;
        self.0.send_modify(|state| {
            number = state.connections.len();
            state.connections.push(true);
        });
        Connected { log: self.clone(), number, requests: 0 }
    }

    /// The connections that were made, ever.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.0.borrow().connections.len()
    }

    /// The connections that live.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.borrow().connections.iter().filter(|open| **open).count()
    }

    /// The bytes of answers that peers accepted.
    #[must_use]
    pub fn bytes_accepted(&self) -> u64 {
        self.0.borrow().bytes_accepted
    }

    /// The requests whose head arrived, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<Received> {
        let read = |entry: &Entry| Received {
            connection: entry.connection,
            head: entry.head.clone(),
            body: entry.body.clone().freeze(),
            complete: entry.complete,
        };
        self.0.borrow().requests.iter().map(read).collect()
    }

    /// Waits until at least `count` connections were made.
    ///
    /// # Cancellation
    /// Leaves nothing behind.
    pub async fn until_connections(&self, count: usize) {
        self.until(|state| state.connections.len() >= count).await;
    }

    /// Waits until the heads of at least `count` requests arrived.
    ///
    /// # Cancellation
    /// Leaves nothing behind.
    pub async fn until_requests(&self, count: usize) {
        self.until(|state| state.requests.len() >= count).await;
    }

    /// Waits until the body of request `number` was read to its end.
    ///
    /// # Cancellation
    /// Leaves nothing behind.
    pub async fn until_complete(&self, number: usize) {
        self.until(|state| state.requests.get(number).is_some_and(|request| request.complete)).await;
    }

    /// Waits until the connection `number`, from 0, was made and ended.
    ///
    /// # Cancellation
    /// Leaves nothing behind.
    pub async fn until_closed(&self, number: usize) {
        self.until(|state| state.connections.get(number).is_some_and(|open| !open)).await;
    }

    /// Waits until at most `count` connections live.
    ///
    /// # Cancellation
    /// Leaves nothing behind.
    pub async fn until_open_at_most(&self, count: usize) {
        self.until(|state| state.connections.iter().filter(|open| **open).count() <= count).await;
    }

    async fn until(&self, reached: impl Fn(&State) -> bool + Send + Sync) {
        // The sender is ours, so the wait cannot end by its loss.
        let _ = self.0.subscribe().wait_for(|state| reached(state)).await;
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.borrow();
        f.debug_struct("Log")
            .field("connections", &state.connections.len())
            .field("requests", &state.requests.len())
            .finish()
    }
}

/// One connection in a log; dropping it tells that the connection ended.
pub(super) struct Connected {
    log: Log,
    number: usize,
    requests: usize,
}

impl Connected {
    pub(super) fn requested(&mut self, head: Bytes) -> Exchange {
        let mut number = 0;
        let (connection, on_connection) = (self.number, self.requests);
        self.requests += 1;
        self.log.0.send_modify(|state| {
            number = state.requests.len();
            state.requests.push(Entry {
                connection,
                head: head.clone(),
                body: BytesMut::new(),
                complete: false,
            });
        });
        Exchange { connection, on_connection, number, head }
    }

    pub(super) fn read(&self, number: usize, bytes: &[u8], complete: bool) {
        self.log.0.send_modify(|state| {
            let Some(request) = state.requests.get_mut(number) else { return };
            request.body.extend_from_slice(bytes);
            request.complete = complete;
        });
    }

    pub(super) fn accepted(&self, bytes: usize) {
        self.log.0.send_modify(|state| state.bytes_accepted += bytes as u64);
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.log.0.send_modify(|state| state.connections[self.number] = false);
    }
}
