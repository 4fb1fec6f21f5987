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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ::http::StatusCode;
    use futures_util::stream;
    use http_body::Frame;
    use onex_spi::http::{HttpBody, HttpPeer, HttpResponse, HttpService};

    use super::*;
    use crate::http::{handler, streamed};
    use crate::net::{Gate, RawConnection, Script};

    async fn connect(server: &ScriptedServer) -> RawConnection {
        RawConnection::open(server.address()).await.expect("connected")
    }

    fn echo() -> Arc<dyn HttpService> {
        handler(|mut request| async move {
            let peer =
                request.extensions.get::<HttpPeer>().is_some_and(|peer| peer.remote.ip().is_loopback());
            let status = if peer { StatusCode::OK } else { StatusCode::BAD_GATEWAY };
            let mut response = HttpResponse::new(status, HttpBody::EMPTY);
            let body = std::mem::take(&mut request.body).bytes(1 << 20).await?;
            response.body = match request.url.path() {
                "/chunked" => {
                    let mut trailers = ::http::HeaderMap::new();
                    trailers.insert("x-sum", ::http::HeaderValue::from_static("7"));
                    streamed(stream::iter([Ok(Frame::data(body)), Ok(Frame::trailers(trailers))]))
                }
                "/fail" => return Err(onex_spi::Error::invalid("case", "as asked")),
                _ => body.into(),
            };
            Ok(response)
        })
    }

    #[tokio::test]
    async fn a_service_speaks_every_framing_over_one_kept_connection() {
        let server = ScriptedServer::start(echo()).await.expect("a server");
        let mut raw = connect(&server).await;
        let exchanges = [
            ("POST", "/", "content-length: 3\r\n\r\nabc", 200, "abc"),
            (
                "POST",
                "/chunked",
                "transfer-encoding: chunked\r\n\r\n2;x\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
                200,
                "abc",
            ),
            ("HEAD", "/", "content-length: 3\r\n\r\nabc", 200, ""),
            ("GET", "/fail", "\r\n", 500, ""),
            ("GET", "/", "\r\n", 200, ""),
        ];
        for (method, path, rest, status, body) in exchanges {
            raw.send(format!("{method} {path} HTTP/1.1\r\nhost: h\r\n{rest}")).await.expect("sent");
            let response = raw.response(method).await.expect("a response");
            assert_eq!(
                (response.status.as_u16(), &response.body[..]),
                (status, body.as_bytes()),
                "{method} {path}"
            );
            assert_eq!(response.trailers.is_some(), path == "/chunked");
        }
        let requests = server.requests();
        assert_eq!((server.connections(), requests.len()), (1, exchanges.len()));
        assert_eq!(&requests[1].body[..], b"2;x\r\nab\r\n1\r\nc\r\n0\r\n\r\n", "raw, with its framing");
        assert!(requests.iter().all(|request| request.complete));
        raw.send("GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.expect("sent");
        raw.response("GET").await.expect("a last response");
        assert!(raw.ended_cleanly().await);
        server.until_closed(0).await;
    }

    #[tokio::test]
    async fn a_peer_that_leaves_ends_its_handler() {
        let gate = Gate::new();
        let (held, gone) = (gate.clone(), Gate::new());
        let left = gone.clone();
        let service = handler(move |_| {
            let (held, gone) = (held.clone(), crate::http::Gone(left.clone()));
            async move {
                let _gone = gone;
                held.wait().await;
                Ok(HttpResponse::new(StatusCode::OK, ""))
            }
        });
        let server = ScriptedServer::start(service).await.expect("a server");
        let mut raw = connect(&server).await;
        raw.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.expect("sent");
        gate.until_waiting(1).await;
        assert_eq!(server.open(), 1);
        drop(raw);
        gone.wait().await;
        server.until_open_at_most(0).await;
    }

    #[tokio::test]
    async fn a_script_waits_dribbles_and_ends_as_it_says() {
        let gate = Gate::new();
        let held = gate.clone();
        let server = ScriptedServer::start(Answer::scripted(move |exchange| match exchange.connection {
            0 => Script::new().wait(&held).bytewise("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").close(),
            1 => Script::new().reset(),
            _ => Script::early().endless("x"),
        }))
        .await
        .expect("a server");
        let mut raw = connect(&server).await;
        raw.send("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\n\r\n").await.expect("sent");
        server.until_requests(1).await;
        assert!(!server.requests()[0].complete, "the body is not there yet");
        raw.send("x").await.expect("sent");
        server.until_complete(0).await;
        gate.until_waiting(1).await;
        gate.open();
        assert_eq!(raw.response("POST").await.expect("a response").body, "ok");
        server.until_closed(0).await;

        let mut raw = connect(&server).await;
        raw.send("GET / HTTP/1.1\r\n\r\n").await.expect("sent");
        let error = raw.response("GET").await.expect_err("reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

        let mut raw = connect(&server).await;
        raw.send("GET / HTTP/1.1\r\n\r\n").await.expect("sent");
        server.until_requests(3).await;
        drop(raw);
        server.until_closed(2).await;
        let address = server.address();
        drop(server);
        // The port is free once the aborted task has gone.
        while TcpListener::bind(address).await.is_err() {
            tokio::task::yield_now().await;
        }
    }
}
