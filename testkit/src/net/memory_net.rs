//! A network inside the process: real HTTP/1.1 bytes over pipes, no socket, any address.
//!
//! ```text
//!  engine ─► Connector ─► MemoryNet::dial(address) ─► pipe ─► the script or service at that address
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use onex_connect::{Dialer, Io};
use onex_spi::http::{HttpReason, Resolver};
use onex_spi::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, WriteHalf};
use tokio::task::JoinSet;

use super::connection::{self, Outgoing};
use super::{Answer, Log};

/// What a pipe holds in each direction before the writer waits.
const PIPE: usize = 64 << 10;

/// Addresses with servers behind them, and names for addresses; a [`Dialer`] and a [`Resolver`].
///
/// Connections end with the network. A port that nobody serves refuses; one that is [`silent`](MemoryNet::silent) never
/// answers, so that a connect timeout can be tried on a clock that a test moves.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use http::StatusCode;
/// use onex_spi::http::HttpResponse;
/// use onex_testkit::http::handler;
/// use onex_testkit::net::MemoryNet;
///
/// let net = Arc::new(MemoryNet::new());
/// let log = net.serve(([10, 0, 0, 7], 80).into(), handler(|_| async { Ok(HttpResponse::new(StatusCode::OK, "hi")) }));
/// net.name("orders.internal", [10, 0, 0, 7].into());
/// assert_eq!(log.connections(), 0);
/// ```
#[derive(Default)]
pub struct MemoryNet {
    state: Mutex<State>,
    dials: AtomicU64,
}

#[derive(Default)]
struct State {
    hosts: BTreeMap<SocketAddr, Host>,
    names: BTreeMap<String, Vec<IpAddr>>,
    connections: JoinSet<()>,
}

#[derive(Clone)]
enum Host {
    Answers(Answer, Log),
    Silent,
}

impl MemoryNet {
    /// Makes a network where nobody listens.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers at `address`; an earlier server there gets no further connections.
    pub fn serve(&self, address: SocketAddr, answer: impl Into<Answer>) -> Log {
        let log = Log::new();
        self.state().hosts.insert(address, Host::Answers(answer.into(), log.clone()));
        log
    }

    /// Lets connections to `address` wait for ever.
    pub fn silent(&self, address: SocketAddr) {
        self.state().hosts.insert(address, Host::Silent);
    }

    /// Refuses connections to `address` from now on; those that there are live on.
    pub fn remove(&self, address: SocketAddr) {
        self.state().hosts.remove(&address);
    }

    /// Adds an address to the name `host`.
    pub fn name(&self, host: &str, address: IpAddr) {
        self.state().names.entry(host.to_ascii_lowercase()).or_default().push(address);
    }

    /// The connections that were tried, ever.
    #[must_use]
    pub fn dials(&self) -> u64 {
        self.dials.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Dialer for MemoryNet {
    async fn dial(&self, address: SocketAddr) -> Result<Box<dyn Io>> {
        let number = self.dials.fetch_add(1, Ordering::Relaxed);
        let host = self.state().hosts.get(&address).cloned();
        let (answer, log) = match host {
            Some(Host::Answers(answer, log)) => (answer, log),
            Some(Host::Silent) => return std::future::pending().await,
            None => {
                let message = format!("{address} refused the connection: nobody serves there");
                return Err(Error::new(ErrorKind::Unavailable, "connect.dial", message)
                    .not_applied()
                    .with_detail(HttpReason::Connect));
            }
        };
        let (near, far) = tokio::io::duplex(PIPE);
        let was_reset = Arc::new(AtomicBool::new(false));
        let (read, write) = tokio::io::split(far);
        let write = Box::new(FarEnd { write, was_reset: was_reset.clone() });
        let port = 49152 + u16::try_from(number % 16384).unwrap_or_default();
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut state = self.state();
        while state.connections.try_join_next().is_some() {}
        state.connections.spawn(connection::run(read, write, peer, answer, log.connected()));
        Ok(Box::new(NearEnd { pipe: near, was_reset }))
    }
}

#[async_trait]
impl Resolver for MemoryNet {
    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>> {
        if let Ok(literal) = host.parse() {
            return Ok(vec![literal]);
        }
        self.state().names.get(&host.to_ascii_lowercase()).cloned().ok_or_else(|| {
            let message = format!("the memory network has no name {host}; add it with MemoryNet::name");
            Error::new(ErrorKind::NotFound, "connect.resolve", message)
                .not_applied()
                .with_detail(HttpReason::Resolve)
        })
    }
}

impl fmt::Debug for MemoryNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("MemoryNet")
            .field("hosts", &state.hosts.keys())
            .field("names", &state.names)
            .field("connections", &state.connections.len())
            .finish_non_exhaustive()
    }
}

/// The server's sending half.
struct FarEnd {
    write: WriteHalf<DuplexStream>,
    was_reset: Arc<AtomicBool>,
}

impl Outgoing for FarEnd {
    fn reset(self: Box<Self>) {
        self.was_reset.store(true, Ordering::Release);
    }
}

#[deny(clippy::missing_trait_methods)]
impl AsyncWrite for FarEnd {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.write).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.write).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.write.is_write_vectored()
    }
}

/// The engine's end: a pipe whose end can be a reset.
struct NearEnd {
    pipe: DuplexStream,
    was_reset: Arc<AtomicBool>,
}

impl NearEnd {
    fn check<T>(&self, result: io::Result<T>, ended: bool) -> Poll<io::Result<T>> {
        if (ended || result.is_err()) && self.was_reset.load(Ordering::Acquire) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(result)
    }
}

impl AsyncRead for NearEnd {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = ready!(Pin::new(&mut self.pipe).poll_read(cx, into));
        let ended = into.filled().len() == before && into.remaining() > 0;
        self.check(read, ended)
    }
}

#[deny(clippy::missing_trait_methods)]
impl AsyncWrite for NearEnd {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.pipe).poll_write(cx, bytes));
        self.check(written, false)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.pipe).poll_write_vectored(cx, bytes));
        self.check(written, false)
    }

    fn is_write_vectored(&self) -> bool {
        self.pipe.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use onex_spi::Effect;
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::net::{RawConnection, Script};

    fn address(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 80).into()
    }

    #[tokio::test]
    async fn bytes_travel_and_are_logged_by_any_address() {
        let net = MemoryNet::new();
        let log = net.serve(address(1), Script::new().send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
        net.name("Orders.internal", address(1).ip());
        assert_eq!(net.resolve("orders.INTERNAL").await.expect("a name"), [address(1).ip()]);
        assert_eq!(net.resolve("nowhere").await.expect_err("no name").kind(), ErrorKind::NotFound);
        let mut raw = RawConnection::over(net.dial(address(1)).await.expect("a server"));
        for _ in 0..2 {
            raw.send("POST /a HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\n\r\nx").await.expect("sent");
            assert_eq!(raw.response("POST").await.expect("a response").body, "ok");
        }
        let requests = log.requests();
        assert_eq!((requests.len(), &requests[1].body[..], requests[1].complete), (2, b"x".as_slice(), true));
        drop(raw);
        log.until_closed(0).await;
    }

    #[tokio::test]
    async fn an_end_is_an_end_and_a_reset_is_a_reset() {
        let net = MemoryNet::new();
        net.serve(address(1), Script::new().reset());
        net.serve(address(2), Script::new().fin());
        for (last, due) in [(1, Some(io::ErrorKind::ConnectionReset)), (2, None)] {
            let mut raw = net.dial(address(last)).await.expect("a server");
            tokio::io::AsyncWriteExt::write_all(&mut raw, b"GET / HTTP/1.1\r\n\r\n").await.expect("sent");
            let ended = raw.read(&mut [0; 8]).await.map_err(|error| error.kind());
            assert_eq!(ended, due.map_or(Ok(0), Err));
        }
    }

    #[tokio::test]
    async fn who_does_not_serve_refuses_and_who_is_silent_never_answers() {
        let net = MemoryNet::new();
        let error = net.dial(address(1)).await.err().expect("nobody there");
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Unavailable, Effect::NotApplied));
        net.silent(address(1));
        let mut silent = Box::pin(net.dial(address(1)));
        assert!(futures_util::future::poll_immediate(&mut silent).await.is_none());
        assert_eq!(net.dials(), 2);
    }
}
