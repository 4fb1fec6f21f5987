//! From a host and port to a counted connection.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use onex_spi::http::{HttpUrl, Resolver};
use onex_spi::provider::OpenContext;
use onex_spi::{Clock, Error, Result};

use crate::counters::Counters;
use crate::error::{no_address, timed_out};
use crate::{ConnectStats, Connection, Dialer, SystemResolver, TcpDialer};

/// Resolves, dials and counts, under one timeout; clones share the counters.
///
/// # Examples
/// ```no_run
/// # async fn example() -> onex_spi::Result<()> {
/// use std::sync::Arc;
/// use std::time::Duration;
/// use onex_connect::Connector;
/// use onex_spi::TokioClock;
///
/// let connector = Connector::system(Arc::new(TokioClock::new()));
/// let connection = connector.connect("example.com", 80, Some(Duration::from_secs(10))).await?;
/// assert_eq!(connector.stats().open(), 1);
/// drop(connection);
/// assert_eq!(connector.stats().open(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Connector {
    resolver: Arc<dyn Resolver>,
    dialer: Arc<dyn Dialer>,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
}

impl Connector {
    /// Makes a connector of its three parts.
    #[must_use]
    pub fn new(resolver: Arc<dyn Resolver>, dialer: Arc<dyn Dialer>, clock: Arc<dyn Clock>) -> Self {
        Self { resolver, dialer, clock, counters: Arc::default() }
    }

    /// Makes one that asks the operating system and dials TCP.
    #[must_use]
    pub fn system(clock: Arc<dyn Clock>) -> Self {
        Self::new(Arc::new(SystemResolver::new()), Arc::new(TcpDialer::new()), clock)
    }

    /// Makes one that dials TCP with the clock and the resolver of `context`; without one, the system's.
    #[must_use]
    pub fn from_context(context: &OpenContext) -> Self {
        let resolver = context.resolver.clone().unwrap_or_else(|| Arc::new(SystemResolver::new()));
        Self::new(resolver, Arc::new(TcpDialer::new()), context.clock.clone())
    }

    /// The clock of the connect timeout.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// A snapshot of the counters.
    #[must_use]
    pub fn stats(&self) -> ConnectStats {
        self.counters.snapshot()
    }

    /// Connects to the authority of `url`, as [`connect`](Self::connect) does.
    ///
    /// # Errors
    /// `Unsupported` for `https`, before anything is resolved; else those of [`connect`](Self::connect).
    /// # Cancellation
    /// As for [`connect`](Self::connect).
    pub async fn connect_to(&self, url: &HttpUrl, timeout: Option<Duration>) -> Result<Connection> {
        if url.scheme() != "http" {
            let message = format!(
                "{}:// needs TLS, which this connector does not speak; use http:// or another engine",
                url.scheme()
            );
            return Err(Error::unsupported("connect.dial", message));
        }
        self.connect(url.host(), url.port(), timeout).await
    }

    /// Connects to the first address of `host` that answers; `host` may be a name or an IP literal, also in brackets.
    ///
    /// The resolver is asked about literals too, so that a vetting one sees every host. `timeout` covers
    /// resolving and all addresses; `None` = no limit.
    ///
    /// # Errors
    /// All not applied: `TimedOut` in the phase `Connect`; `NotFound` with `Resolve`; what the last address
    /// met, `Unavailable` with `Connect` where it refused.
    /// # Cancellation
    /// Nothing is connected; a running dial counts as cancelled.
    pub async fn connect(&self, host: &str, port: u16, timeout: Option<Duration>) -> Result<Connection> {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let limit = timeout.and_then(|within| Some((within, self.clock.now().checked_add(within)?)));
        let Some((within, deadline)) = limit else { return self.first_of(host, port).await };
        let mut work = pin!(self.first_of(host, port));
        let mut timer = None;
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            let timer = timer.get_or_insert_with(|| self.clock.timer());
            timer.poll_at(deadline, cx).map(|()| Err(timed_out(host, port, within)))
        })
        .await
    }

    async fn first_of(&self, host: &str, port: u16) -> Result<Connection> {
        let addresses = self.resolver.resolve(host).await.map_err(Error::not_applied)?;
        let mut failed = None;
        for address in addresses {
            let address = SocketAddr::new(address, port);
            let dial = self.counters.begin_dial();
            match self.dialer.dial(address).await {
                Ok(io) => return Ok(Connection::new(io, address, dial.opened())),
                Err(error) => {
                    dial.failed();
                    tracing::debug!(%address, %error, "dial failed");
                    failed = Some(error.not_applied());
                }
            }
        }
        Err(failed.unwrap_or_else(|| no_address(host)))
    }
}
