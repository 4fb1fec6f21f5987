//! An HTTP server on a loopback port whose every byte is a test's.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;

use onex_spi::http::HttpUrl;
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

use super::log::Log;
use super::{Answer, connection};

/// Listens at 127.0.0.1, answers each exchange by a script or a service, and logs what it receives.
///
/// It ends with this handle: dropped, it listens no more and its connections are cut.
///
/// # Examples
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use onex_testkit::net::{RawConnection, Script, ScriptedServer};
///
/// let script = Script::new().send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n0123456789").fin();
/// let server = ScriptedServer::start(script).await.unwrap();
/// let mut client = RawConnection::open(server.address()).await.unwrap();
/// client.send("GET / HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
/// assert!(client.response("GET").await.is_err(), "ten bytes are not a hundred");
/// assert_eq!(server.requests()[0].request_line(), "GET / HTTP/1.1");
/// # });
/// ```
pub struct ScriptedServer {
    address: SocketAddr,
    log: Log,
    accepting: AbortHandle,
}

impl ScriptedServer {
    /// Listens at a free port.
    ///
    /// # Errors
    /// What listening met.
    pub async fn start(answer: impl Into<Answer> + Send) -> io::Result<Self> {
        let answer = answer.into();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let log = Log::new();
        let accepting = tokio::spawn(accept(listener, answer, log.clone())).abort_handle();
        Ok(Self { address, log, accepting })
    }

    /// The address that is listened at.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of `path` here.
    ///
    /// # Errors
    /// `InvalidInput` for a path that is none.
    pub fn url(&self, path: &str) -> onex_spi::Result<HttpUrl> {
        HttpUrl::try_from(format!("http://{}{path}", self.address))
    }

    /// What the server saw.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }
}

async fn accept(listener: TcpListener, answer: Answer, log: Log) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::warn!(%error, "single bytes may arrive together");
                    }
                    let (read, write) = stream.into_split();
                    connections.spawn(connection::run(read, Box::new(write), peer, answer.clone(), log.connected()));
                }
                Err(error) => {
                    tracing::error!(%error, "the scripted server cannot accept any more");
                    return;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

impl Deref for ScriptedServer {
    type Target = Log;

    fn deref(&self) -> &Log {
        &self.log
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl fmt::Debug for ScriptedServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedServer").field("address", &self.address).field("log", &self.log).finish()
    }
}
