//! HTTP in, one rule on one field of 1 KiB JSON, HTTP out: the bridge beside a bare hyper proxy with the rule in its code.
//!
//! ```text
//!  16 callers ─► proxy thread (raw │ ours), whose CPU time is read ─► upstream          each on a thread and a runtime of its own
//! ```
//! What is told is requests per second of the proxy thread's CPU time, which other load on the machine bends less than the
//! clock on the wall. Linux only: the time is read from `/proc`.
//!
//! `cargo bench -p onex-bridge --bench http_path`

use std::borrow::Cow;
use std::convert::Infallible;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use onex_bridge::http::HttpProtocol;
use onex_http_client::HttpClientBuilder;
use onex_spi::TokioClock;
use onex_spi::bridge::{BridgeConfig, CommunicationBridge, Protocol, RoutingRule};
use onex_spi::provider::{OpenContext, Table};
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Ended<T> = Result<T, Failure>;

const CALLERS: u64 = 16;
const REQUESTS: u64 = 4_000;
const ROUNDS: usize = 7;

fn main() -> Ended<()> {
    let upstream = Thread::start(async || listen(service_fn(answer)).await)?;
    let to = upstream.address;
    let raw = Thread::start(async move || proxy(to).await)?;
    let ours = Thread::start(async move || bridge(to).await)?;
    let payload = payload();
    let callers = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = |proxy: &Thread| -> Ended<f64> {
        let before = proxy.cpu()?;
        callers.block_on(call(proxy.address, &payload))?;
        Ok((proxy.cpu()? - before) as f64 / REQUESTS as f64)
    };
    // The first round warms connections, caches and branch predictors.
    let mut pairs = Vec::new();
    for round in 0..=ROUNDS {
        let pair = if round % 2 == 0 {
            (run(&raw)?, run(&ours)?)
        } else {
            let ours = run(&ours)?;
            (run(&raw)?, ours)
        };
        if round > 0 {
            pairs.push(pair);
        }
    }
    let middle = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        (values[values.len() / 2], values[0], values[values.len() - 1])
    };
    let (raw_ns, ..) = middle(pairs.iter().map(|(raw, _)| *raw).collect());
    let (our_ns, ..) = middle(pairs.iter().map(|(_, ours)| *ours).collect());
    let (ratio, least, greatest) = middle(pairs.iter().map(|(raw, ours)| raw / ours).collect());
    println!(
        "a payload of {} bytes, {CALLERS} callers, {ROUNDS} rounds of {REQUESTS} requests a side",
        payload.len()
    );
    println!("| raw CPU ns a request | ours | requests per CPU second, ours / raw (least - greatest) |");
    println!("| --- | --- | --- |");
    println!("| {raw_ns:.0} | {our_ns:.0} | {ratio:.2} ({least:.2} - {greatest:.2}) |");
    Ok(())
}

/// What lives as long as its thread.
type Kept = Option<Arc<dyn CommunicationBridge>>;

/// A server on a thread of its own until the process ends.
struct Thread {
    address: SocketAddr,
    schedstat: String,
}

impl Thread {
    fn start<S>(serve: S) -> Ended<Self>
    where
        S: AsyncFnOnce() -> Ended<(SocketAddr, Kept)> + Send + 'static,
    {
        let (started, start) = mpsc::channel();
        std::thread::spawn(move || {
            let run = || -> Ended<()> {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let task = fs::read_link("/proc/thread-self")?;
                let schedstat = format!("/proc/{}/schedstat", task.display());
                let (address, _kept) = runtime.block_on(serve())?;
                started.send(Ok(Self { address, schedstat }))?;
                runtime.block_on(std::future::pending::<()>());
                Ok(())
            };
            if let Err(error) = run() {
                // Where nobody waits any more the process is ending.
                let _ = started.send(Err(error));
            }
        });
        start.recv()?
    }

    /// The thread's CPU time so far, in nanoseconds.
    fn cpu(&self) -> Ended<u64> {
        let text = fs::read_to_string(&self.schedstat)?;
        Ok(text.split_whitespace().next().ok_or("an empty schedstat")?.parse()?)
    }
}

/// A bare hyper server on a free port.
async fn listen<S, F>(service: S) -> Ended<(SocketAddr, Kept)>
where
    S: hyper::service::Service<
            Request<Incoming>,
            Response = Response<Full<Bytes>>,
            Error = Infallible,
            Future = F,
        > + Clone
        + Send
        + 'static,
    F: Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service.clone());
            tokio::spawn(async move { drop(connection.await) });
        }
    });
    Ok((address, None))
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let read = request.into_body().collect().await.map_or(0, |body| body.to_bytes().len());
    Ok(Response::new(Full::new(Bytes::from(read.to_string()))))
}

/// The raw side: the rule in the code, nothing kept, nothing counted.
async fn proxy(upstream: SocketAddr) -> Ended<(SocketAddr, Kept)> {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let out: http::Uri = format!("http://{upstream}/out").parse()?;
    let forward = move |request: Request<Incoming>| {
        let (client, out) = (client.clone(), out.clone());
        async move {
            let forwarded = async {
                let payload = request.into_body().collect().await?.to_bytes();
                let event: Event<'_> = serde_json::from_slice(&payload)?;
                if event.event.as_deref() != Some("user_login") {
                    return Ok::<_, Failure>(
                        Response::builder().status(StatusCode::NO_CONTENT).body(Full::default())?,
                    );
                }
                let request = Request::builder().method(Method::POST).uri(out).body(Full::new(payload))?;
                let (head, body) = client.request(request).await?.into_parts();
                Ok(Response::from_parts(head, Full::new(body.collect().await?.to_bytes())))
            };
            Ok(forwarded.await.unwrap_or_else(|error| {
                let mut failed = Response::new(Full::new(Bytes::from(error.to_string())));
                *failed.status_mut() = StatusCode::BAD_GATEWAY;
                failed
            }))
        }
    };
    listen(service_fn(forward)).await
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    event: Option<Cow<'a, str>>,
}

/// Our side: the same by a rule of a bridge, with its ledger, limits, retry and timeouts.
async fn bridge(upstream: SocketAddr) -> Ended<(SocketAddr, Kept)> {
    let clock = Arc::new(TokioClock::new());
    let context = OpenContext::new(clock.clone(), 1);
    let server = onex_http_server_hyper::open(onex_http_server_hyper::Config::default(), &context).await?;
    let transport =
        onex_http_transport_hyper::open(onex_http_transport_hyper::Config::default(), &context).await?;
    let client = HttpClientBuilder::new(transport, clock.clone()).build()?;
    let http = Arc::new(HttpProtocol::new().with_server(server).with_client(client));
    let bridges = onex_bridge::open(vec![http.clone()], clock, 1)?;
    let source: Table = "listen = '127.0.0.1:0'\npath = '/in'".parse()?;
    let target: Table = format!("url = 'http://{upstream}'\nconcurrency = 16").parse()?;
    let rules = vec![RoutingRule::new("payload.event == 'user_login'", "/out")];
    let config = BridgeConfig::default().with_ends(source, target).with_rules(rules);
    let end = Protocol::new("http");
    bridges.create_bridge("proxy", end.clone(), end, config).await?;
    let url: http::Uri = http.listening().first().ok_or("the bridge listens nowhere")?.url.parse()?;
    Ok((url.authority().ok_or("no authority")?.as_str().parse()?, Some(bridges)))
}

/// Posts the payload [`REQUESTS`] times over [`CALLERS`] connections, one at a time each.
async fn call(proxy: SocketAddr, payload: &Bytes) -> Ended<()> {
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..CALLERS {
        let payload = payload.clone();
        callers.spawn(async move {
            let stream = TcpStream::connect(proxy).await?;
            stream.set_nodelay(true)?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            let driver = tokio::spawn(connection);
            for _ in 0..REQUESTS / CALLERS {
                let request = Request::builder().method(Method::POST).uri("/in").header("host", "proxy");
                let response = sender.send_request(request.body(Full::new(payload.clone()))?).await?;
                let (status, body) = (response.status(), response.into_body().collect().await?.to_bytes());
                if status != StatusCode::OK || body != payload.len().to_string() {
                    return Err(format!("{status} {body:?}").into());
                }
                sender.ready().await?;
            }
            drop(sender);
            driver.await??;
            Ok::<_, Failure>(())
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    Ok(())
}

/// About 1 KiB of JSON with 22 fields.
fn payload() -> Bytes {
    let fields: String = (0..20).map(|n| format!(r#","field_{n:02}":"{}""#, "x".repeat(32))).collect();
    Bytes::from(format!(r#"{{"id":7,"event":"user_login"{fields}}}"#))
}
