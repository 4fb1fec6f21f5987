//! Bugs in how the bytes of a request are read: a lax reader before the socket of a good server.
//!
//! ```text
//!  client ═══ front (reads heads line by line, leaves some lines out) ═══ good server       bodies and answers pass as they are
//! ```

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::http::{HttpServer, HttpService, HttpServing};
use onex_spi::{Error, ErrorKind, Health, Lifecycle, Result};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::wrapper::{Bug, Served, add};
use crate::broken::Broken;

pub(super) const BUGS: &[Broken<dyn HttpServer>] = &[
    Broken::new(
        "skips_lines_that_are_no_headers",
        "HTTP-8",
        &["http_server.malformed_request"],
        add::<Lax<SkipsNonsense>>,
    ),
    Broken::new(
        "takes_the_first_of_two_lengths",
        "HTTP-8",
        &["http_server.malformed_request"],
        add::<Lax<TakesFirstLength>>,
    ),
    Broken::new(
        "drops_headers_beyond_its_limit",
        "HTTP-17",
        &["http_server.head_limits"],
        add::<Lax<DropsMore>>,
    ),
];

/// Which header lines a lax reader lets through.
trait Rule: std::fmt::Debug + Default + Send + Sync + 'static {
    /// Whether `line` counts, after the lines `before` it that did.
    fn takes(before: &[Vec<u8>], line: &[u8]) -> bool;
}

#[derive(Debug, Default)]
struct SkipsNonsense;

impl Rule for SkipsNonsense {
    fn takes(_: &[Vec<u8>], line: &[u8]) -> bool {
        name(line).is_some_and(|name| ::http::HeaderName::from_bytes(name).is_ok())
    }
}

#[derive(Debug, Default)]
struct TakesFirstLength;

impl Rule for TakesFirstLength {
    fn takes(before: &[Vec<u8>], line: &[u8]) -> bool {
        let is_length =
            |line: &[u8]| name(line).is_some_and(|name| name.eq_ignore_ascii_case(b"content-length"));
        !is_length(line) || !before.iter().any(|before| is_length(before))
    }
}

#[derive(Debug, Default)]
struct DropsMore;

impl Rule for DropsMore {
    fn takes(before: &[Vec<u8>], _: &[u8]) -> bool {
        before.len() < 64
    }
}

fn name(line: &[u8]) -> Option<&[u8]> {
    line.iter().position(|byte| *byte == b':').map(|colon| &line[..colon])
}

/// The value of the last header line of this name.
fn value<'a>(lines: &'a [Vec<u8>], wanted: &str) -> Option<&'a [u8]> {
    let mut found = lines
        .iter()
        .rev()
        .filter_map(|line| Some((name(line)?, line)))
        .filter(|(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes()));
    found.next().map(|(name, line)| line[name.len() + 1..].trim_ascii())
}

/// A server with a lax reader before each of its sockets; one without sockets has no bytes that could be read laxly.
#[derive(Debug, Default)]
struct Lax<R> {
    listening: Mutex<Vec<AbortHandle>>,
    rule: std::marker::PhantomData<R>,
}

#[async_trait]
impl<R: Rule> Bug for Lax<R> {
    async fn serve(
        &self,
        good: &Arc<dyn HttpServer>,
        address: SocketAddr,
        handler: Arc<dyn HttpService>,
    ) -> Result<Served> {
        let behind = good.serve((Ipv4Addr::LOCALHOST, 0).into(), handler.clone()).await?;
        if TcpStream::connect(behind.local_addr()).await.is_err() {
            drop(behind);
            return good.serve(address, handler).await;
        }
        let taken = |error: io::Error| {
            let message = format!("cannot listen at {address}");
            Error::new(ErrorKind::Unavailable, "http_server.serve", message).not_applied().with_source(error)
        };
        let listener = TcpListener::bind(address).await.map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        let accepting = tokio::spawn(accept::<R>(listener, behind.local_addr())).abort_handle();
        self.listening.lock().unwrap_or_else(PoisonError::into_inner).push(accepting.clone());
        Ok(Arc::new(Front { address, behind, accepting }))
    }

    async fn close_server(&self, good: &Arc<dyn HttpServer>, within: Duration) -> Result<()> {
        let listening = std::mem::take(&mut *self.listening.lock().unwrap_or_else(PoisonError::into_inner));
        listening.iter().for_each(AbortHandle::abort);
        good.close(within).await
    }
}

/// The handle of one address; the connections behind it end with those of the good server.
#[derive(Debug)]
struct Front {
    address: SocketAddr,
    behind: Served,
    accepting: AbortHandle,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

#[deny(clippy::missing_trait_methods)]
impl HttpServing for Front {
    fn local_addr(&self) -> SocketAddr {
        self.address
    }

    fn in_flight(&self) -> u64 {
        self.behind.in_flight()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Lifecycle for Front {
    async fn health(&self) -> Health {
        self.behind.health().await
    }

    async fn close(&self, within: Duration) -> Result<()> {
        self.accepting.abort();
        self.behind.close(within).await
    }
}

async fn accept<R: Rule>(listener: TcpListener, server: SocketAddr) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(carry::<R>(client, server));
    }
}

async fn carry<R: Rule>(client: TcpStream, server: SocketAddr) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    if client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
        return;
    }
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, to_server) = server.into_split();
    let back = async {
        // Whatever ends it, the connection is over.
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
    };
    let there = async {
        let mut from_client = BufReader::new(from_client);
        match requests::<R>(&mut from_client, to_server).await {
            // The server heard of the end and may still answer.
            Ok(()) => std::future::pending().await,
            // The server takes no more, or the client was reset, which ends this too.
            Err(_) => drop(tokio::io::copy(&mut from_client, &mut tokio::io::sink()).await),
        }
    };
    tokio::select! {
        () = back => {}
        () = there => {}
    }
}

type Client = BufReader<OwnedReadHalf>;

/// Hands requests on, each head by lines, until the client ends its side.
async fn requests<R: Rule>(client: &mut Client, mut server: OwnedWriteHalf) -> io::Result<()> {
    loop {
        let mut line = Vec::new();
        if client.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        server.write_all(&line).await?;
        let mut headers = Vec::new();
        loop {
            line.clear();
            if client.read_until(b'\n', &mut line).await? == 0 {
                return Ok(());
            }
            let last = line.trim_ascii().is_empty();
            if last || R::takes(&headers, &line) {
                server.write_all(&line).await?;
                headers.push(line.clone());
            }
            if last {
                break;
            }
        }
        body(&headers, client, &mut server).await?;
    }
}

async fn body(headers: &[Vec<u8>], client: &mut Client, server: &mut OwnedWriteHalf) -> io::Result<()> {
    if value(headers, "transfer-encoding").is_none() {
        // A length that is none is the good server's to refuse.
        let length = value(headers, "content-length").and_then(number).unwrap_or(0);
        tokio::io::copy(&mut (&mut *client).take(length), server).await?;
        return Ok(());
    }
    let mut line = Vec::new();
    loop {
        line.clear();
        client.read_until(b'\n', &mut line).await?;
        server.write_all(&line).await?;
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let size = std::str::from_utf8(digits).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
        match size.unwrap_or(0) {
            0 => break,
            size => tokio::io::copy(&mut (&mut *client).take(size.saturating_add(2)), server).await?,
        };
    }
    while !line.trim_ascii().is_empty() {
        line.clear();
        client.read_until(b'\n', &mut line).await?;
        server.write_all(&line).await?;
    }
    Ok(())
}

fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}
