//! A GET of 100 bytes over loopback: the default client path beside raw hyper-util with the same headers and a total timeout.
//!
//! ```text
//!  this thread (current-thread runtime, counted): raw client │ our client        another thread: a bare hyper server
//! ```
//!
//! `cargo bench -p onex-http-transport-hyper --bench client_path`

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Empty, Full};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use onex_bench::{Comparison, table};
use onex_http_client::{Config, HttpClientBuilder};
use onex_http_transport_hyper::open;
use onex_spi::TokioClock;
use onex_spi::http::{HttpRequest, HttpUrl};
use onex_spi::provider::OpenContext;

const TOTAL: Duration = Duration::from_secs(30);

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let address = serve()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let url = HttpUrl::try_from(format!("http://{address}/hundred"))?;
    let clock = Arc::new(TokioClock::new());
    let (transport, client) = runtime.block_on(async {
        let transport =
            open(onex_http_transport_hyper::Config::default(), &OpenContext::new(clock.clone(), 1)).await?;
        let client = HttpClientBuilder::new(transport.clone(), clock).config(Config::default()).build()?;
        Ok::<_, onex_spi::Error>((transport, client))
    })?;
    let raw: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();

    let raw_get = |n: u64| {
        runtime.block_on(async {
            for _ in 0..n {
                let mut request = Request::new(Empty::new());
                *request.uri_mut() = url.uri().clone();
                request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static("onex"));
                request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("*/*"));
                let body = tokio::time::timeout(TOTAL, async {
                    raw.request(request).await?.into_body().collect().await.map_err(Failure::from)
                });
                assert_eq!(
                    body.await.map(|body| body.map(|body| body.to_bytes().len()).ok()).ok().flatten(),
                    Some(100)
                );
            }
        });
    };
    let request = || HttpRequest::new(http::Method::GET, url.clone());
    let policy = Comparison::new("GET 100 B, default client (raw: hyper-util, same headers, timeout)").run(
        raw_get,
        |n| {
            runtime.block_on(async {
                for _ in 0..n {
                    let mut request = request();
                    request.timeouts.total = Some(TOTAL);
                    let Ok(response) = client.request(request).await else {
                        unreachable!("the server answers")
                    };
                    assert_eq!(response.into_body().bytes(1024).await.map(|body| body.len()).ok(), Some(100));
                }
            });
        },
    );
    let engine = Comparison::new("GET 100 B, transport alone (raw: the same)").run(raw_get, |n| {
        runtime.block_on(async {
            for _ in 0..n {
                let Ok(response) = transport.exchange(request()).await else {
                    unreachable!("the server answers")
                };
                assert_eq!(response.into_body().bytes(1024).await.map(|body| body.len()).ok(), Some(100));
            }
        });
    });
    println!("{}", table(&[policy, engine]));
    Ok(())
}

/// A hyper server that answers 100 bytes, on a thread of its own until the process ends.
fn serve() -> Result<SocketAddr, Failure> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let hundred = service_fn(async |_| {
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(&[b'x'; 100]))))
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), hundred);
                tokio::spawn(async move { drop(connection.await) });
            }
        });
    });
    Ok(address)
}
