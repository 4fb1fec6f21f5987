//! A raw-byte peer on a real socket, and what the tests of this crate share.

#![allow(dead_code, unreachable_pub, reason = "each test target uses its part")]

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use onex_connect::{Connector, Dialer, Io, SystemResolver};
use onex_http_transport_hyper::{Config, open_with};
use onex_spi::http::{HttpReason, HttpRequest, HttpTransport, HttpUrl, PoolStats, Resolver};
use onex_spi::{Clock, Error, Result};
use onex_testkit::clock::ManualClock;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};

pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

pub struct Peer {
    listener: TcpListener,
    pub address: SocketAddr,
}

impl Peer {
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("its address");
        Self { listener, address }
    }

    pub async fn accept(&self) -> Talk {
        let (stream, _) = self.listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        Talk { stream }
    }

    pub fn request(&self, method: http::Method, path: &str) -> HttpRequest {
        let url = format!("http://{}{path}", self.address);
        HttpRequest::new(method, HttpUrl::try_from(url).expect("a URL"))
    }

    pub fn get(&self, path: &str) -> HttpRequest {
        self.request(http::Method::GET, path)
    }
}

/// One accepted connection.
pub struct Talk {
    pub stream: TcpStream,
}

impl Talk {
    /// Reads one head (no body) as text.
    pub async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.stream.read_u8().await.expect("more of the head"));
        }
        String::from_utf8(head).expect("text")
    }

    /// As [`head`](Talk::head); `None` where the other side has closed.
    pub async fn try_head(&mut self) -> Option<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.stream.read_u8().await.ok()?);
        }
        Some(())
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).await.expect("sent");
    }

    pub async fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Waits for the other side's close, whatever comes before it.
    pub async fn until_closed(&mut self) {
        let mut rest = [0; 4096];
        while let Ok(count) = self.stream.read(&mut rest).await {
            if count == 0 {
                return;
            }
        }
    }

    /// Closes with RST instead of FIN.
    pub fn reset(self) {
        self.stream.set_zero_linger().expect("no linger");
    }
}

pub fn transport(config: Config) -> (Arc<dyn HttpTransport>, ManualClock) {
    let clock = ManualClock::new();
    let shared: Arc<dyn Clock> = Arc::new(clock.clone());
    (open_with(config, Connector::system(shared)).expect("a good config"), clock)
}

/// Waits for a state that another task is about to reach; the test's own time limit is the harness's.
pub async fn until(reached: impl Fn() -> bool) {
    while !reached() {
        tokio::task::yield_now().await;
    }
}

/// open, in use, idle
pub fn now(stats: &PoolStats) -> (u64, u64, u64) {
    let told = |count: Option<u64>| count.expect("exact");
    (told(stats.open), told(stats.in_use), told(stats.idle))
}

pub fn reason(error: &Error) -> Option<HttpReason> {
    error.http().map(|fault| fault.reason)
}

/// A dialer whose dials never end.
#[derive(Debug)]
struct Stuck;

#[async_trait]
impl Dialer for Stuck {
    async fn dial(&self, _: SocketAddr) -> Result<Box<dyn Io>> {
        std::future::pending().await
    }
}

pub fn stuck(config: Config) -> (Arc<dyn HttpTransport>, ManualClock) {
    let clock = ManualClock::new();
    let connector = Connector::new(Arc::new(SystemResolver::new()), Arc::new(Stuck), Arc::new(clock.clone()));
    (open_with(config, connector).expect("a good config"), clock)
}

/// The far ends of pipes that a transport dials instead of sockets.
pub struct Pipes(Mutex<mpsc::UnboundedReceiver<DuplexStream>>);

impl Pipes {
    /// Answers one request of one new pipe, whose far end it returns.
    pub async fn answer(&self, bytes: &[u8]) -> DuplexStream {
        let mut pipe = self.0.lock().await.recv().await.expect("a dial");
        let mut head = Vec::new();
        // The requests here have a body of one byte.
        while !head.ends_with(b"\r\n\r\nx") {
            head.push(pipe.read_u8().await.expect("more of the request"));
        }
        pipe.write_all(bytes).await.expect("sent");
        pipe
    }
}

#[derive(Debug)]
struct Pipe(mpsc::UnboundedSender<DuplexStream>);

#[async_trait]
impl Dialer for Pipe {
    async fn dial(&self, address: SocketAddr) -> Result<Box<dyn Io>> {
        let (near, far) = tokio::io::duplex(1 << 16);
        let refused = |_| onex_connect::dial_error(address, std::io::ErrorKind::ConnectionRefused.into());
        self.0.send(far).map_err(refused)?;
        Ok(Box::new(near))
    }
}

/// Dials a stream whose writes fail after the first, with the answer arriving right behind the failure.
#[derive(Debug)]
struct Breaking(&'static [u8]);

struct BreakingIo {
    answer: &'static [u8],
    written: bool,
    failed: bool,
    reader: Option<Waker>,
}

#[async_trait]
impl Dialer for Breaking {
    async fn dial(&self, _: SocketAddr) -> Result<Box<dyn Io>> {
        Ok(Box::new(BreakingIo { answer: self.0, written: false, failed: false, reader: None }))
    }
}

impl AsyncRead for BreakingIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.failed {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        buf.put_slice(std::mem::take(&mut self.answer));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for BreakingIo {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if !std::mem::replace(&mut self.written, true) {
            return Poll::Ready(Ok(buf.len()));
        }
        self.failed = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

pub fn breaking(answer: &'static [u8]) -> Arc<dyn HttpTransport> {
    let connector =
        Connector::new(Arc::new(Anywhere), Arc::new(Breaking(answer)), Arc::new(ManualClock::new()));
    open_with(Config::default(), connector).expect("a good config")
}

#[derive(Debug)]
struct Anywhere;

#[async_trait]
impl Resolver for Anywhere {
    async fn resolve(&self, _: &str) -> Result<Vec<IpAddr>> {
        Ok(vec![IpAddr::from([127, 0, 0, 1])])
    }
}

pub fn piped() -> (Arc<dyn HttpTransport>, Pipes) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let connector = Connector::new(Arc::new(Anywhere), Arc::new(Pipe(sender)), Arc::new(ManualClock::new()));
    (open_with(Config::default(), connector).expect("a good config"), Pipes(Mutex::new(receiver)))
}

pub fn named(origin: &str, path: &str) -> HttpRequest {
    HttpRequest::new(http::Method::GET, HttpUrl::try_from(format!("{origin}{path}")).expect("a URL"))
}
