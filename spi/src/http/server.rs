//! The serving side.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;

use super::HttpService;
use crate::{Lifecycle, Result};

/// Who sent a request; in the request's extensions on the serving side.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpPeer {
    /// The address of the connection's other end.
    pub remote: SocketAddr,
}

impl HttpPeer {
    /// Makes a peer.
    #[must_use]
    pub fn new(remote: SocketAddr) -> Self {
        Self { remote }
    }
}

/// Serves an [`HttpService`] at an address.
#[async_trait]
pub trait HttpServer: Lifecycle {
    /// Listens at `address` (port 0 = any free one) and answers with `service` until the returned handle is closed.
    ///
    /// A handler's `Err` is answered with 500 and an empty body; the error is traced, not sent.
    ///
    /// # Errors
    /// `Unavailable` where the address cannot be listened at; `Closed` after `close`.
    /// # Cancellation
    /// Nothing listens.
    async fn serve(&self, address: SocketAddr, service: Arc<dyn HttpService>)
    -> Result<Arc<dyn HttpServing>>;
}

const _: fn(&dyn HttpServer) = |_| ();

/// One listening address; closing it drains, dropping it cuts.
///
/// `close(within)` stops accepting, lets running exchanges end, and at `within` cuts the rest and answers `TimedOut`.
#[async_trait]
pub trait HttpServing: Lifecycle {
    /// The address that is listened at, with the port that was found.
    fn local_addr(&self) -> SocketAddr;

    /// The exchanges running now.
    fn in_flight(&self) -> u64;
}

const _: fn(&dyn HttpServing) = |_| ();
