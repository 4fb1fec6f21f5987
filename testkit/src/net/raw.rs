//! A client that sends the bytes it is told to send.

use std::io;
use std::net::SocketAddr;

use ::http::{HeaderMap, Method, StatusCode};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::h1::{Framing, Head, Reader};

/// A response as it was read.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct RawResponse {
    /// The raw head with its empty line.
    pub head: Bytes,
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The payload, its framing taken off.
    pub body: Bytes,
    /// The trailers, where some came.
    pub trailers: Option<HeaderMap>,
}

/// One connection that speaks raw bytes; for tests of servers.
pub struct RawConnection<S = TcpStream>(Reader<S>);

impl RawConnection {
    /// Connects.
    ///
    /// # Errors
    /// What connecting met.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self(Reader::new(stream)))
    }

    /// Ends the connection with a reset.
    ///
    /// # Errors
    /// What the socket met.
    pub fn reset(mut self) -> io::Result<()> {
        self.0.io_mut().set_zero_linger()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> RawConnection<S> {
    /// Speaks over a stream that is connected.
    pub fn over(stream: S) -> Self {
        Self(Reader::new(stream))
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// What writing met.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]> + Send) -> io::Result<()> {
        self.0.io_mut().write_all(bytes.as_ref()).await
    }

    /// Ends the sending side.
    ///
    /// # Errors
    /// What the socket met.
    pub async fn finish(&mut self) -> io::Result<()> {
        self.0.io_mut().shutdown().await
    }

    /// Reads the response to a `method`, interim responses skipped.
    ///
    /// # Errors
    /// `UnexpectedEof` where it ended early; `InvalidData` where it is no HTTP/1.1; else what reading met.
    pub async fn response(&mut self, method: &str) -> io::Result<RawResponse> {
        let method = Method::from_bytes(method.as_bytes()).map_err(io::Error::other)?;
        loop {
            let raw = self.0.head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let head = Head::parse(&raw)?;
            let status = head.status()?;
            if status.is_informational() {
                continue;
            }
            let mut framing = Framing::of_response(&method, status, &head.headers)?;
            let (mut body, mut trailers) = (BytesMut::new(), None);
            while let Some((frame, _)) = framing.next(&mut self.0).await? {
                match frame.into_data() {
                    Ok(data) => body.extend_from_slice(&data),
                    Err(frame) => trailers = frame.into_trailers().ok().filter(|map| !map.is_empty()),
                }
            }
            return Ok(RawResponse {
                head: raw,
                status,
                headers: head.headers,
                body: body.freeze(),
                trailers,
            });
        }
    }

    /// Reads one head and nothing behind it, interim or final; answers its status.
    ///
    /// # Errors
    /// As [`response`](RawConnection::response).
    pub async fn interim(&mut self) -> io::Result<StatusCode> {
        let raw = self.0.head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        Head::parse(&raw)?.status()
    }

    /// Waits until the peer ended the connection; answers whether it did so without a reset and without more bytes.
    ///
    /// # Cancellation
    /// Leaves nothing behind.
    pub async fn ended_cleanly(&mut self) -> bool {
        matches!(self.0.head().await, Ok(None))
    }
}

impl<S> std::fmt::Debug for RawConnection<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RawConnection")
    }
}
