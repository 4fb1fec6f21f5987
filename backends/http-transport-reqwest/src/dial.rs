//! What happens below reqwest when it needs a connection: our resolver, our timeout, our count.
//!
//! reqwest has one connect timeout for a client and hides its connector. A layer around that connector is polled inside
//! the exchange that asked for the connection, so the exchange leaves a note in a task-local where the layer finds it:
//! the request's own limit goes down, whether a dial ended well comes up.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use onex_spi::Clock;
use onex_spi::http::{Resolver, connect_timed_out};
use reqwest::dns::{Name, Resolve, Resolving};
use tower_layer::Layer;
use tower_service::Service;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

tokio::task_local! {
    static NOTE: Arc<Note>;
}

/// What an exchange and its dial tell each other.
#[derive(Debug)]
pub(crate) struct Note {
    limit: Option<Duration>,
    dialled: AtomicBool,
}

impl Note {
    /// Leaves the request's own connect timeout for the dial.
    pub(crate) fn new(limit: Option<Duration>) -> Arc<Self> {
        Arc::new(Self { limit, dialled: AtomicBool::new(false) })
    }

    /// Runs `exchange` with this note where a dial finds it.
    pub(crate) async fn with<T>(self: &Arc<Self>, exchange: impl Future<Output = T>) -> T {
        NOTE.scope(self.clone(), exchange).await
    }

    /// Whether a dial of this exchange ended well.
    pub(crate) fn dialled(&self) -> bool {
        self.dialled.load(Ordering::Acquire)
    }
}

/// The dials of a transport, counted.
#[derive(Debug, Default)]
pub(crate) struct Dials {
    pub(crate) opened: AtomicU64,
    pub(crate) errors: AtomicU64,
}

/// Puts limit and count around reqwest's connector.
#[derive(Clone, Debug)]
pub(crate) struct DialLayer {
    pub(crate) dials: Arc<Dials>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limit: Duration,
}

impl<S> Layer<S> for DialLayer {
    type Service = Dial<S>;

    fn layer(&self, connector: S) -> Dial<S> {
        Dial { connector, layer: self.clone() }
    }
}

/// reqwest's connector under our limit.
#[derive(Clone, Debug)]
pub(crate) struct Dial<S> {
    connector: S,
    layer: DialLayer,
}

#[deny(clippy::missing_trait_methods)]
impl<S, R> Service<R> for Dial<S>
where
    S: Service<R, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connector.poll_ready(cx)
    }

    fn call(&mut self, target: R) -> Self::Future {
        let DialLayer { dials, clock, limit } = self.layer.clone();
        let note = NOTE.try_with(Arc::clone).ok();
        let limit = note.as_ref().and_then(|note| note.limit).unwrap_or(limit);
        let deadline = clock.now().checked_add(limit);
        let connecting = self.connector.call(target);
        Box::pin(async move {
            let late = async {
                match deadline {
                    Some(deadline) => clock.sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            let connection = tokio::select! {
                biased;
                connection = connecting => connection,
                () = late => Err(connect_timed_out(limit).into()),
            };
            let count = if connection.is_ok() { &dials.opened } else { &dials.errors };
            count.fetch_add(1, Ordering::Relaxed);
            if let Some(note) = note.filter(|_| connection.is_ok()) {
                note.dialled.store(true, Ordering::Release);
            }
            connection
        })
    }
}

/// Our resolver in reqwest's shape.
pub(crate) struct Names(pub(crate) Arc<dyn Resolver>);

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.0.clone();
        Box::pin(async move {
            let found = resolver.resolve(name.as_str()).await?;
            // Port 0 is replaced by that of the URL.
            let addresses = found.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as reqwest::dns::Addrs)
        })
    }
}
