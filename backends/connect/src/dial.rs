//! The seam that a simulation replaces.

use std::fmt;
use std::net::SocketAddr;

use async_trait::async_trait;
use onex_spi::Result;
use tokio::net::TcpStream;

use crate::Io;
use crate::error::dial_error;

/// Makes a stream to one address.
#[async_trait]
pub trait Dialer: fmt::Debug + Send + Sync + 'static {
    /// Connects to `address`.
    ///
    /// # Errors
    /// `Unavailable` with [`HttpReason::Connect`](onex_spi::http::HttpReason::Connect), not applied, where
    /// nothing listens or nothing can be reached; see [`dial_error`] for sockets.
    /// # Cancellation
    /// Nothing is connected.
    async fn dial(&self, address: SocketAddr) -> Result<Box<dyn Io>>;
}

const _: fn(&dyn Dialer) = |_| ();

/// Dials TCP, without Nagle's delay.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpDialer;

impl TcpDialer {
    /// Makes the dialer.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

#[async_trait]
impl Dialer for TcpDialer {
    async fn dial(&self, address: SocketAddr) -> Result<Box<dyn Io>> {
        let stream = TcpStream::connect(address).await.map_err(|error| dial_error(address, error))?;
        stream.set_nodelay(true).map_err(|error| dial_error(address, error))?;
        Ok(Box::new(stream))
    }
}
