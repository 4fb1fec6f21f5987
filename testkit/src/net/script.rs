//! What a scripted server does with one exchange.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use onex_spi::http::HttpService;

use super::{Exchange, Gate};

/// The steps that answer one exchange; after the last one the next request of the connection is read.
///
/// The request's body is read first, unless the script begins with [`Script::early`].
#[derive(Clone, Debug)]
pub struct Script {
    pub(super) reads_body: bool,
    pub(super) steps: Vec<Step>,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Send(Bytes),
    Bytewise(Bytes),
    Every(Bytes, Duration),
    Endless(Bytes),
    Wait(Gate),
    Fin,
    Reset,
    Stall,
    Close,
}

impl Script {
    /// Makes a script that reads the request's body first.
    #[must_use]
    pub fn new() -> Self {
        Self { reads_body: true, steps: Vec::new() }
    }

    /// Makes a script that begins at the end of the request's head.
    #[must_use]
    pub fn early() -> Self {
        Self { reads_body: false, ..Self::new() }
    }

    fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Sends bytes as they are.
    #[must_use]
    pub fn send(self, bytes: impl Into<Bytes>) -> Self {
        self.then(Step::Send(bytes.into()))
    }

    /// Sends bytes one at a time, each in a segment of its own.
    #[must_use]
    pub fn bytewise(self, bytes: impl Into<Bytes>) -> Self {
        self.then(Step::Bytewise(bytes.into()))
    }

    /// Sends one byte per `period` of real time.
    #[must_use]
    pub fn every(self, period: Duration, bytes: impl Into<Bytes>) -> Self {
        self.then(Step::Every(bytes.into(), period))
    }

    /// Sends bytes again and again until the peer refuses them.
    #[must_use]
    pub fn endless(self, bytes: impl Into<Bytes>) -> Self {
        self.then(Step::Endless(bytes.into()))
    }

    /// Waits until `gate` is open.
    #[must_use]
    pub fn wait(self, gate: &Gate) -> Self {
        self.then(Step::Wait(gate.clone()))
    }

    /// Ends the sending side, then waits for the peer's end.
    #[must_use]
    pub fn fin(self) -> Self {
        self.then(Step::Fin)
    }

    /// Ends the connection with a reset.
    #[must_use]
    pub fn reset(self) -> Self {
        self.then(Step::Reset)
    }

    /// Sends nothing more and waits for the peer's end.
    #[must_use]
    pub fn stall(self) -> Self {
        self.then(Step::Stall)
    }

    /// Ends the connection in both directions.
    #[must_use]
    pub fn close(self) -> Self {
        self.then(Step::Close)
    }
}

impl Default for Script {
    fn default() -> Self {
        Self::new()
    }
}

/// What answers a server's exchanges.
#[derive(Clone)]
#[non_exhaustive]
pub enum Answer {
    /// A script for each exchange.
    Script(Arc<dyn Fn(&Exchange) -> Script + Send + Sync>),
    /// A service, over HTTP/1.1 with kept connections; its `Err` is a 500.
    Service(Arc<dyn HttpService>),
}

impl Answer {
    /// Answers each exchange with a script of its own.
    pub fn scripted(script: impl Fn(&Exchange) -> Script + Send + Sync + 'static) -> Self {
        Self::Script(Arc::new(script))
    }
}

impl From<Script> for Answer {
    fn from(script: Script) -> Self {
        Self::scripted(move |_| script.clone())
    }
}

impl From<Arc<dyn HttpService>> for Answer {
    fn from(service: Arc<dyn HttpService>) -> Self {
        Self::Service(service)
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Script(_) => f.write_str("Script"),
            Self::Service(service) => f.debug_tuple("Service").field(service).finish(),
        }
    }
}
