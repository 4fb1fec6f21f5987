//! The tasks of one listening address: one accepts, one drives each connection.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Config;
use crate::exchange::{Ends, answer};
use crate::serving::{Shared, Told};
use crate::timer::ClockTimer;
use crate::wire::Wire;

/// How long to wait where the machine has nothing left to accept with.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// Accepts until it is aborted; a place is taken first, so that the kernel's backlog is the queue.
pub(crate) async fn accept(shared: Arc<Shared>, listener: TcpListener, config: Config) {
    let http1 = builder(&shared, &config);
    let places = Arc::new(Semaphore::new(config.max_connections.get().min(Semaphore::MAX_PERMITS)));
    // The semaphore is never closed.
    while let Ok(place) = places.clone().acquire_owned().await {
        let (stream, remote) = loop {
            match listener.accept().await {
                Ok(accepted) => break accepted,
                Err(error) if is_the_peers(&error) => {
                    tracing::debug!(%error, "a peer left before it was accepted")
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept; waiting");
                    shared.clock.sleep_until(shared.clock.now() + EXHAUSTED).await;
                }
            }
        };
        let (http1, owner) = (http1.clone(), shared.clone());
        shared.spawn(|told| drive(owner, http1, stream, remote, told, place));
    }
}

fn builder(shared: &Shared, config: &Config) -> Builder {
    let mut http1 = Builder::new();
    http1
        .timer(ClockTimer(shared.clock.clone()))
        .header_read_timeout(config.head_timeout)
        .max_header_size(config.max_head_bytes);
    if config.max_headers != Config::HEADERS {
        http1.max_headers(config.max_headers);
    }
    http1
}

fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

async fn drive(
    shared: Arc<Shared>,
    http1: Builder,
    stream: TcpStream,
    remote: SocketAddr,
    mut told: Told,
    _place: OwnedSemaphorePermit,
) {
    if let Err(error) = stream.set_nodelay(true) {
        return tracing::debug!(%error, "the peer left at once");
    }
    let ends = Ends { local: shared.address, remote };
    let link = told.link().clone();
    let service = service_fn(|request| {
        let (service, running) = (&*shared.service, shared.begin(link.clone()));
        async move { Ok::<_, std::convert::Infallible>(answer(service, ends, request, running).await) }
    });
    let mut connection = pin!(http1.serve_connection(Wire::new(stream, link.clone()), service));
    let ended = std::future::poll_fn(|cx| {
        if told.poll_closing(cx) {
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx)
    })
    .await;
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
