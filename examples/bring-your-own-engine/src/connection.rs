//! Connections: idle in the pool, driven by an exchange, driven on by the body of its answer.

use std::collections::HashMap;
use std::error::Error as _;
use std::future::{pending, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use onex_spi::http::{HttpBody, HttpFault, HttpReason};
use onex_spi::{BoxFuture, Clock, Effect, Error, ErrorKind, Result};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// The most idle connections to one authority, and how long each may stay so.
const IDLE: usize = 8;
const IDLE_TIME: Duration = Duration::from_secs(60);

/// Ready once a close has run out of time; whoever holds one is running, and close waits for it.
pub(crate) type Cut = BoxFuture<'static, ()>;

/// The idle connections, and the end of all others.
#[derive(Debug)]
pub(crate) struct Pool {
    clock: Arc<dyn Clock>,
    /// Per authority, since when and what; the newest last.
    idle: Mutex<HashMap<String, Vec<(Instant, Connection)>>>,
    /// When a close cuts what still runs; `None` while the transport is open.
    end: watch::Sender<Option<Instant>>,
    cut_some: Arc<AtomicBool>,
}

impl Pool {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, idle: Mutex::default(), end: watch::Sender::new(None), cut_some: Arc::default() }
    }

    fn idle(&self) -> MutexGuard<'_, HashMap<String, Vec<(Instant, Connection)>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an exchange, unless the transport is closed.
    pub(crate) fn enter(&self) -> Result<Cut> {
        let (mut end, clock, cut_some) = (self.end.subscribe(), self.clock.clone(), self.cut_some.clone());
        if end.borrow().is_some() {
            return Err(Error::closed("http.exchange", "the transport"));
        }
        Ok(Box::pin(async move {
            let at = end.wait_for(Option::is_some).await.ok().and_then(|at| *at);
            // Without a time the transport was dropped, not closed: what is being read is read to its end.
            let Some(at) = at else { return pending().await };
            clock.sleep_until(at).await;
            cut_some.store(true, Ordering::Release);
        }))
    }

    /// An idle connection that still works, the newest first.
    pub(crate) fn take(&self, authority: &str) -> Option<Connection> {
        let mut idle = self.idle();
        let list = idle.get_mut(authority)?;
        // One that does not work any more is dropped: nobody watched it, and its server left.
        let popped = std::iter::from_fn(|| list.pop()).map(|(_, connection)| connection);
        popped.filter_map(Connection::ready).next()
    }

    /// Keeps a connection whose exchange is over, if it can carry another one.
    fn keep(&self, connection: Connection) {
        let Some(mut connection) = connection.ready() else { return };
        connection.reused = true;
        let now = self.clock.now();
        let mut idle = self.idle();
        if self.end.borrow().is_some() {
            return;
        }
        idle.retain(|_, list| {
            list.retain(|(since, _)| now.saturating_duration_since(*since) < IDLE_TIME);
            !list.is_empty()
        });
        let list = idle.entry(connection.authority.clone()).or_default();
        if list.len() == IDLE {
            list.remove(0);
        }
        list.push((now, connection));
    }

    /// Lets no exchange begin, drops what is idle, and waits for the others until they are cut.
    pub(crate) async fn close(&self, within: Duration) -> Result<()> {
        let end = crate::after(&*self.clock, within);
        let first = self.end.send_if_modified(|set| set.is_none() && set.replace(end).is_none());
        let end = self.end.borrow().unwrap_or(end);
        std::mem::take(&mut *self.idle());
        let cut_some = tokio::select! {
            biased;
            () = self.end.closed() => self.cut_some.load(Ordering::Acquire),
            () = self.clock.sleep_until(end) => true,
        };
        if !(first && cut_some) {
            return Ok(());
        }
        let message = format!("exchanges still ran after {within:?} and were cut");
        Err(Error::new(ErrorKind::TimedOut, "http.close", message))
    }
}

/// One connection; no task drives it, so dropping it ends it.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: http1::SendRequest<HttpBody>,
    /// Both directions of the bytes; `None` once they have ended.
    driver: Option<http1::Connection<TokioIo<TcpStream>, HttpBody>>,
    /// Whether it carried an exchange before.
    pub(crate) reused: bool,
    authority: String,
    /// Where it goes after an exchange.
    pub(crate) home: Weak<Pool>,
}

impl Connection {
    pub(crate) async fn new(stream: TcpStream, authority: String, home: &Arc<Pool>) -> Result<Self> {
        let io = TokioIo::new(stream);
        let (sender, driver) = http1::handshake(io).await.map_err(|e| before_head(e, false).not_applied())?;
        Ok(Self { sender, driver: Some(driver), reused: false, authority, home: Arc::downgrade(home) })
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(driver) = &mut self.driver
            && Pin::new(driver).poll(cx).is_ready()
        {
            // Its error, if any, is told to the request or the body that it carried.
            self.driver = None;
        }
    }

    /// The connection, if the next request can be sent now; nobody waits for the answer, hence no waker.
    fn ready(mut self) -> Option<Self> {
        self.drive(&mut Context::from_waker(Waker::noop()));
        (self.driver.is_some() && self.sender.is_ready()).then_some(self)
    }

    /// Sends `request`; a failure hands it back where nothing of it was sent.
    pub(crate) async fn send(
        &mut self,
        request: Request<HttpBody>,
        ends: &mut Cut,
    ) -> Result<Response<Incoming>, (Error, Option<Box<Request<HttpBody>>>)> {
        let mut response = pin!(self.sender.try_send_request(request));
        poll_fn(|cx| {
            if ends.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err((cut(), None)));
            }
            self.drive(cx);
            response.as_mut().poll(cx).map_err(|mut failed| {
                let unsent = failed.take_message().map(Box::new);
                (before_head(failed.into_error(), self.reused), unsent)
            })
        })
        .await
    }
}

/// The body of an answer, and the connection that it arrives on until it has ended.
pub(crate) struct Answer {
    incoming: Incoming,
    received: u64,
    running: Option<(Connection, Cut)>,
}

impl Answer {
    /// The body after a head; an empty one gives its connection back at once (HTTP-6).
    pub(crate) fn body(incoming: Incoming, connection: Connection, ends: Cut) -> HttpBody {
        let mut answer = Self { incoming, received: 0, running: Some((connection, ends)) };
        if answer.incoming.is_end_stream() {
            answer.end();
            return HttpBody::EMPTY;
        }
        HttpBody::new(answer)
    }

    fn end(&mut self) {
        // `_ends` lives until the connection is idle, so that a close waits for it.
        if let Some((connection, _ends)) = self.running.take()
            && let Some(home) = connection.home.upgrade()
        {
            home.keep(connection);
        }
    }

    fn fail(&mut self, error: Error, reason: HttpReason) -> Option<Result<Frame<Bytes>>> {
        self.running = None;
        let fault = HttpFault::new(reason).with_bytes_received(self.received);
        Some(Err(error.with_detail(fault)))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let this = &mut *self;
        let Some((connection, ends)) = &mut this.running else { return Poll::Ready(None) };
        if ends.as_mut().poll(cx).is_ready() {
            return Poll::Ready(this.fail(cut(), HttpReason::IncompleteBody));
        }
        connection.drive(cx);
        Poll::Ready(match ready!(Pin::new(&mut this.incoming).poll_frame(cx)) {
            Some(Ok(frame)) => {
                this.received += frame.data_ref().map_or(0, |data| data.len() as u64);
                // The last byte of an announced length is the end: nobody need ask for it.
                if this.incoming.is_end_stream() {
                    this.end();
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                let (kind, reason, message) = inside_body(&error);
                this.fail(Error::new(kind, "http.body", message).with_source(error), reason)
            }
            None => {
                this.end();
                None
            }
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// An exchange that a close cut; the server may have acted on it.
pub(crate) fn cut() -> Error {
    let message = "the transport was closed while the exchange ran; open a new one";
    Error::new(ErrorKind::Closed, "http.exchange", message)
}

/// What hyper met before the head of the answer.
fn before_head(error: hyper::Error, reused: bool) -> Error {
    // The caller's own body failed: its error says most, but for what the server has done by then.
    if let Some(own) = error.is_user().then(|| Error::find_in(&error)).flatten() {
        return own.with_effect(Effect::Unknown);
    }
    let (kind, reason, message) = if error.is_parse_too_large() {
        (
            ErrorKind::TooLarge,
            HttpReason::HeadTooLarge,
            "the head of the response passes 100 headers or 408 KiB; use an engine with a higher limit",
        )
    } else if error.is_parse() {
        (ErrorKind::Corrupt, HttpReason::Protocol, "the peer did not answer with an HTTP/1.1 head")
    } else if error.is_body_write_aborted() {
        let message = "the request body ended before its announced length; give the exact length or none";
        (ErrorKind::InvalidInput, HttpReason::IncompleteBody, message)
    } else {
        (ErrorKind::Unavailable, HttpReason::ConnectionLost, "the connection ended before a response")
    };
    let fault = HttpFault::new(reason).with_reused(reused);
    Error::new(kind, "http.exchange", message).with_detail(fault).with_source(error)
}

/// What hyper met inside the body of the answer.
fn inside_body(error: &hyper::Error) -> (ErrorKind, HttpReason, &'static str) {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, InvalidData, InvalidInput};
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>()).map(io::Error::kind);
    match io {
        Some(InvalidData | InvalidInput) => {
            (ErrorKind::Corrupt, HttpReason::Protocol, "the peer broke the framing of the body")
        }
        Some(ConnectionReset | ConnectionAborted | BrokenPipe) => {
            (ErrorKind::Unavailable, HttpReason::ConnectionReset, "the connection was reset inside the body")
        }
        _ => (ErrorKind::Unavailable, HttpReason::IncompleteBody, "the body ended before its announced end"),
    }
}
