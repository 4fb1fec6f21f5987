//! As much of HTTP/1.1 as a test's server and client need: heads, framing in both directions.
//!
//! Strict on what it reads and literal in what it writes; it is no engine and never meets the outside world.

use std::io;

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use onex_spi::http::HttpBody;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest head that a test may send.
const HEAD_LIMIT: usize = 4 << 20;

pub(super) fn broken(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

/// Reads heads and bodies; keeps what was read ahead.
pub(super) struct Reader<R> {
    io: R,
    ahead: BytesMut,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(io: R) -> Self {
        Self { io, ahead: BytesMut::new() }
    }

    /// Reads and drops everything up to the peer's end.
    pub(super) async fn until_end(&mut self) -> io::Result<()> {
        while self.fill().await? > 0 {
            self.ahead.clear();
        }
        Ok(())
    }

    pub(super) fn io_mut(&mut self) -> &mut R {
        &mut self.io
    }

    /// Reads more; 0 = the peer ended its side. Cancel safe.
    pub(super) async fn fill(&mut self) -> io::Result<usize> {
        self.ahead.reserve(16 << 10);
        self.io.read_buf(&mut self.ahead).await
    }

    /// The raw head with its empty line; `None` where the peer ended before its first byte.
    pub(super) async fn head(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(end) = find(&self.ahead, b"\r\n\r\n") {
                return Ok(Some(self.ahead.split_to(end + 4).freeze()));
            }
            if self.ahead.len() > HEAD_LIMIT {
                return Err(broken("the head is longer than 4 MiB"));
            }
            if self.fill().await? == 0 {
                return if self.ahead.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    /// At least one and at most `most` bytes; empty = the peer ended its side.
    async fn some(&mut self, most: usize) -> io::Result<Bytes> {
        if self.ahead.is_empty() {
            self.fill().await?;
        }
        let length = most.min(self.ahead.len());
        Ok(self.ahead.split_to(length).freeze())
    }

    /// One line with its CRLF.
    async fn line(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some(end) = find(&self.ahead, b"\r\n") {
                return Ok(self.ahead.split_to(end + 2).freeze());
            }
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// A parsed head: the three words of its first line, and its headers.
pub(super) struct Head {
    pub(super) first: [String; 3],
    pub(super) headers: HeaderMap,
}

impl Head {
    pub(super) fn parse(raw: &[u8]) -> io::Result<Self> {
        let text = raw.strip_suffix(b"\r\n\r\n").unwrap_or(raw);
        let mut lines =
            text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let first = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
        let mut words = first.splitn(3, ' ').map(str::to_owned);
        let first = [(); 3].map(|()| words.next().unwrap_or_default());
        Ok(Self { first, headers: parse_headers(lines)? })
    }

    pub(super) fn method(&self) -> io::Result<Method> {
        Method::from_bytes(self.first[0].as_bytes()).map_err(|_| broken("the method is no token"))
    }

    pub(super) fn status(&self) -> io::Result<StatusCode> {
        StatusCode::from_bytes(self.first[1].as_bytes()).map_err(|_| broken("the status is no number"))
    }
}

fn parse_headers<'a>(lines: impl Iterator<Item = &'a [u8]>) -> io::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in lines {
        let colon = find(line, b":").ok_or_else(|| broken("a header line has no colon"))?;
        let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| broken("a header name is no token"))?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii())
            .map_err(|_| broken("a header value holds a control"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// How a body ends.
pub(super) enum Framing {
    Done,
    Length(u64),
    /// The bytes left of the chunk that is being read.
    Chunked(u64),
    UntilEnd,
}

impl Framing {
    pub(super) fn of_request(headers: &HeaderMap) -> io::Result<Self> {
        Ok(Self::announced(headers)?.unwrap_or(Self::Done))
    }

    pub(super) fn of_response(method: &Method, status: StatusCode, headers: &HeaderMap) -> io::Result<Self> {
        if bodyless(method, status) {
            return Ok(Self::Done);
        }
        Ok(Self::announced(headers)?.unwrap_or(Self::UntilEnd))
    }

    fn announced(headers: &HeaderMap) -> io::Result<Option<Self>> {
        if headers.contains_key(header::TRANSFER_ENCODING) {
            return Ok(Some(Self::Chunked(0)));
        }
        let Some(length) = headers.get(header::CONTENT_LENGTH) else { return Ok(None) };
        let length = length.to_str().ok().and_then(|text| text.parse().ok());
        let length = length.ok_or_else(|| broken("the content length is no number"))?;
        Ok(Some(if length == 0 { Self::Done } else { Self::Length(length) }))
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// The next frame and the raw bytes that it took; `None` at the end.
    ///
    /// Not cancel safe: what was read of the frame would be lost.
    pub(super) async fn next<R>(
        &mut self,
        reader: &mut Reader<R>,
    ) -> io::Result<Option<(Frame<Bytes>, Bytes)>>
    where
        R: AsyncRead + Unpin,
    {
        match self {
            Self::Done => Ok(None),
            Self::UntilEnd => {
                let data = reader.some(usize::MAX).await?;
                if data.is_empty() {
                    *self = Self::Done;
                    return Ok(None);
                }
                Ok(Some((Frame::data(data.clone()), data)))
            }
            Self::Length(left) => {
                let data = reader.some(usize::try_from(*left).unwrap_or(usize::MAX)).await?;
                if data.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                *left -= data.len() as u64;
                if *left == 0 {
                    *self = Self::Done;
                }
                Ok(Some((Frame::data(data.clone()), data)))
            }
            Self::Chunked(left) => {
                let mut raw = BytesMut::new();
                if *left == 0 {
                    let line = reader.line().await?;
                    raw.extend_from_slice(&line);
                    *left = chunk_size(&line)?;
                    if *left == 0 {
                        *self = Self::Done;
                        return trailers(reader, raw).await.map(Some);
                    }
                }
                let data = reader.some(usize::try_from(*left).unwrap_or(usize::MAX)).await?;
                if data.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                raw.extend_from_slice(&data);
                *left -= data.len() as u64;
                if *left == 0 {
                    let end = reader.line().await?;
                    if &end[..] != b"\r\n" {
                        return Err(broken("a chunk is longer than its size"));
                    }
                    raw.extend_from_slice(&end);
                }
                Ok(Some((Frame::data(data), raw.freeze())))
            }
        }
    }
}

fn chunk_size(line: &[u8]) -> io::Result<u64> {
    let text = std::str::from_utf8(line).unwrap_or_default();
    let digits = text.split(';').next().unwrap_or_default().trim_end();
    u64::from_str_radix(digits, 16).map_err(|_| broken("a chunk size is no hexadecimal number"))
}

async fn trailers<R: AsyncRead + Unpin>(
    reader: &mut Reader<R>,
    mut raw: BytesMut,
) -> io::Result<(Frame<Bytes>, Bytes)> {
    let mut lines = Vec::new();
    loop {
        let line = reader.line().await?;
        raw.extend_from_slice(&line);
        if &line[..] == b"\r\n" {
            break;
        }
        lines.push(line);
    }
    let headers = parse_headers(lines.iter().map(|line| line.strip_suffix(b"\r\n").unwrap_or(line)))?;
    Ok((Frame::trailers(headers), raw.freeze()))
}

/// Whether a response has no body, whatever its headers say (RFC 9110 §6.4.1).
pub(super) fn bodyless(method: &Method, status: StatusCode) -> bool {
    method == Method::HEAD
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

/// Writes the header lines and the empty line.
pub(super) fn write_headers(into: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        into.extend_from_slice(name.as_str().as_bytes());
        into.extend_from_slice(b": ");
        into.extend_from_slice(value.as_bytes());
        into.extend_from_slice(b"\r\n");
    }
    into.extend_from_slice(b"\r\n");
}

/// Adds the framing header that `body` needs where the headers have none; answers whether the body is chunked.
pub(super) fn frame_headers(headers: &mut HeaderMap, body: &HttpBody) -> bool {
    if headers.contains_key(header::CONTENT_LENGTH) {
        return false;
    }
    match body.size_hint().exact() {
        Some(length) => {
            headers.insert(header::CONTENT_LENGTH, length.into());
            false
        }
        None => {
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            true
        }
    }
}

/// Writes a body to its end; a frame that fails ends the writing with an error.
pub(super) async fn write_body<W>(io: &mut W, mut body: HttpBody, chunked: bool) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
{
    let mut last = b"\r\n".to_vec();
    while let Some(frame) = body.frame().await {
        match frame.map_err(io::Error::other)?.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) if chunked => {
                let mut chunk = format!("{:x}\r\n", data.len()).into_bytes();
                chunk.extend_from_slice(&data);
                chunk.extend_from_slice(b"\r\n");
                io.write_all(&chunk).await?;
            }
            Ok(data) => io.write_all(&data).await?,
            Err(frame) => {
                let Ok(trailers) = frame.into_trailers() else { continue };
                last.clear();
                write_headers(&mut last, &trailers);
            }
        }
        io.flush().await?;
    }
    if chunked {
        io.write_all(b"0\r\n").await?;
        io.write_all(&last).await?;
    }
    io.flush().await
}
