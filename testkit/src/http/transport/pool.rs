//! Cases about connections: made, refused, kept, found dead, counted.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use ::http::{Method, StatusCode};
use futures_util::stream;
use onex_spi::http::{HttpFeature, HttpPhase, HttpReason, HttpResponse, HttpUrl, PoolStats, StatsSource};
use onex_spi::{Effect, ErrorKind};
use tokio::net::{TcpSocket, TcpStream};

use super::{Case, CaseResult, Lab, World, case};
use crate::http::handler::{data, handler, streamed};
use crate::http::stage::{
    accepted, broken, failed, get, post, reason, refused, request, settles, whole, within,
};
use crate::net::{Answer, Gate, Log, Script};
use crate::suite::{Stop, missing};
use crate::{ensure, ensure_eq};

pub(super) fn cases() -> Vec<Case<World>> {
    vec![
        case!("http.connect_refused", ["HTTP"], [], connect_refused),
        case!("http.connect_timeout", ["HTTP-18"], ["ONEX-HTTP-19"], connect_timeout),
        case!("http.keep_alive", ["HTTP"], ["ONEX-HTTP-02"], keep_alive),
        case!("http.stale_pool_fin", ["HTTP-21"], ["ONEX-HTTP-02"], stale_pool_fin),
        case!("http.stale_pool_race", ["HTTP-22", "HTTP-42"], ["ONEX-HTTP-22"], stale_pool_race),
        case!("http.connection_cap", ["HTTP"], ["ONEX-HTTP-02"], connection_cap),
        case!("http.pool_stats_exact", ["HTTP-25"], ["ONEX-HTTPX-21"], pool_stats_exact),
    ]
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn call(lab: &Lab, law: &'static str, url: &HttpUrl) -> CaseResult {
    let response =
        accepted(law, "an exchange", within(law, "an exchange", lab.transport.exchange(get(url))).await?)?;
    ensure_body(law, whole(law, response.into_body()).await?)
}

fn ensure_body(law: &'static str, body: bytes::Bytes) -> CaseResult {
    if body == "ok" { Ok(()) } else { Err(failed(law, format!("the body is {body:?}"))) }
}

async fn connect_refused(world: World) -> CaseResult {
    let lab = world.open().await?;
    lab.needs(HttpFeature::Wire)?;
    // Bound and not listening: the port refuses, and nobody else can take it.
    let socket = TcpSocket::new_v4().map_err(|error| broken("a socket", error))?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).map_err(|error| broken("a port", error))?;
    let address = socket.local_addr().map_err(|error| broken("a port", error))?;
    let url = HttpUrl::try_from(format!("http://{address}/secret?token=secret"))?;
    let answer = within("HTTP", "a refused connection", lab.transport.exchange(post(&url, "x"))).await?;
    let error = refused("HTTP", "a refused connection", answer)?;
    let told = (error.kind(), error.effect(), reason(&error));
    ensure_eq!(
        "HTTP",
        told,
        (ErrorKind::Unavailable, Effect::NotApplied, Some(HttpReason::Connect)),
        "{error:#}"
    );
    let shown = format!("{error:#} {error:?}");
    ensure!("HTTP", !shown.contains("secret"), "the error shows path or query: {shown}");
    if lab.has(HttpFeature::ExactPoolStats) {
        let stats = lab.transport.pool_stats();
        let counted = (stats.dial_errors, stats.opened, stats.open);
        ensure_eq!("HTTP", counted, (Some(1), Some(0), Some(0)), "dial errors, opened and open");
    }
    Ok(())
}

/// A port that takes no further connection: its queue of one is full.
async fn full_port() -> Result<(tokio::net::TcpListener, Vec<TcpStream>), Stop> {
    let socket = TcpSocket::new_v4().map_err(|error| broken("a socket", error))?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).map_err(|error| broken("a port", error))?;
    let listener = socket.listen(1).map_err(|error| broken("a listener", error))?;
    let address = listener.local_addr().map_err(|error| broken("a port", error))?;
    let mut taken = Vec::new();
    while taken.len() < 64 {
        // Over loopback a connection that is not there at once waits for a place in the queue.
        match tokio::time::timeout(Duration::from_millis(500), TcpStream::connect(address)).await {
            Ok(Ok(stream)) => taken.push(stream),
            Ok(Err(error)) => return Err(broken("filling a port", error)),
            Err(_) => return Ok((listener, taken)),
        }
    }
    Err(missing("this system queues connections without the bound that was asked for"))
}

async fn connect_timeout(world: World) -> CaseResult {
    const LIMIT: Duration = Duration::from_millis(300);
    let lab = world.open().await?;
    lab.needs(HttpFeature::Wire)?;
    let (listener, _taken) = full_port().await?;
    let address = listener.local_addr().map_err(|error| broken("a port", error))?;
    let mut request = get(&HttpUrl::try_from(format!("http://{address}/"))?);
    request.timeouts.connect = Some(LIMIT);
    let begin = Instant::now();
    let answer = within("HTTP-18", "the connect timeout", lab.transport.exchange(request)).await?;
    let took = begin.elapsed();
    let error = refused("HTTP-18", "a connection that nobody takes", answer)?;
    let told = (error.kind(), error.effect(), error.http().and_then(|fault| fault.phase));
    let due = (ErrorKind::TimedOut, Effect::NotApplied, Some(HttpPhase::Connect));
    ensure_eq!("HTTP-18", told, due, "the connect timeout: {error:#}");
    ensure!("HTTP-18", took >= LIMIT, "the connect timeout of {LIMIT:?} came after {took:?}");
    // The system's own limit is two minutes; the rest is room for a busy machine.
    ensure!(
        "HTTP-18",
        took < LIMIT + Duration::from_secs(5),
        "the connect timeout of {LIMIT:?} came after {took:?}"
    );
    Ok(())
}

async fn keep_alive(world: World) -> CaseResult {
    let lab = world.open().await?;
    let (url, log) = lab
        .script(Answer::scripted(|exchange| match exchange.number {
            // HTTP/1.1 connections persist unless one side says otherwise (RFC 9112 §9.3).
            3 => Script::new()
                .send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
                .fin(),
            _ => Script::new().send(OK),
        }))
        .await?;
    for _ in 0..4 {
        call(&lab, "HTTP", &url).await?;
    }
    ensure_eq!("HTTP", log.connections(), 1, "connections of four exchanges, one after the other");
    within("HTTP", "the end of a connection whose server said close", log.until_closed(0)).await?;
    call(&lab, "HTTP", &url).await?;
    ensure_eq!("HTTP", log.connections(), 2, "connections after the server said close");
    if lab.has(HttpFeature::ExactPoolStats) {
        let counted = |stats: PoolStats| (stats.opened, stats.closed, stats.reused);
        settles("HTTP-25", "opened, closed, reused", (Some(2), Some(1), Some(3)), || {
            counted(lab.transport.pool_stats())
        })
        .await?;
    }
    Ok(())
}

async fn stale_pool_fin(world: World) -> CaseResult {
    let lab = world.open().await?;
    let gate = Gate::new();
    let leave = gate.clone();
    let (url, log) = lab
        .script(Answer::scripted(move |exchange| match exchange.connection {
            0 => Script::new().send(OK).wait(&leave).fin(),
            _ => Script::new().send(OK),
        }))
        .await?;
    call(&lab, "HTTP-21", &url).await?;
    gate.open();
    // An engine that watches its idle connections ends this one now. One that does not must find out at the
    // next call; for it the wait only passes time, so that the FIN is there.
    let _ = tokio::time::timeout(Duration::from_secs(1), log.until_closed(0)).await;
    let what = "a POST after the server closed the idle connection";
    let answer = within("HTTP-21", what, lab.transport.exchange(post(&url, "once"))).await?;
    let response = accepted("HTTP-21", what, answer)?;
    ensure_body("HTTP-21", whole("HTTP-21", response.into_body()).await?)?;
    let seen: Vec<usize> = log.requests().iter().map(|request| request.connection).collect();
    ensure_eq!("HTTP-21", seen, [0, 1], "the connections of the requests that arrived");
    Ok(())
}

async fn stale_pool_race(world: World) -> CaseResult {
    let lab = world.open().await?;
    let table = [("a GET", Method::GET, 0), ("a POST", Method::POST, 1), ("a one-shot PUT", Method::PUT, 2)];
    for (what, method, body) in table {
        for reused in [true, false] {
            let first = usize::from(reused);
            let (url, log) = lab
                .script(Answer::scripted(move |exchange| {
                    if exchange.number < first { Script::new().send(OK) } else { Script::new().close() }
                }))
                .await?;
            if reused {
                call(&lab, "HTTP-22", &url).await?;
            }
            let mut asked = request(method.clone(), &url);
            match body {
                1 => asked.body = "x".into(),
                2 => asked.body = streamed(stream::iter([data("x")])),
                _ => {}
            }
            let answer = within("HTTP-22", what, lab.transport.exchange(asked)).await?;
            let error = refused("HTTP-22", "a request whose connection ended without a byte", answer)?;
            let arrived = log.requests().len() - first;
            ensure_eq!("HTTP-42", arrived, 1, "{what} arrived this often");
            let told = (error.kind(), error.effect(), reason(&error));
            let due = (ErrorKind::Unavailable, Effect::Unknown, Some(HttpReason::ConnectionLost));
            ensure_eq!("HTTP-22", told, due, "{what}, reused {reused}: {error:#}");
            let says = error.http().map(|fault| fault.reused);
            ensure_eq!("HTTP-22", says, Some(reused), "whether {what} met a used connection");
        }
    }
    Ok(())
}

async fn connection_cap(world: World) -> CaseResult {
    let lab = world.open_with(|setup| setup.max_connections_per_origin = Some(2)).await?;
    lab.needs(HttpFeature::Wire)?;
    let Some(most) = lab.transport.capabilities().limits.connections_per_origin else {
        return Err(Stop::Ignored("no limit on connections is told".into()));
    };
    ensure_eq!("HTTP", most, 2, "the limit that is told");
    let gate = Gate::new();
    let held = gate.clone();
    let service = handler(move |_| {
        let held = held.clone();
        async move {
            held.wait().await;
            Ok(HttpResponse::new(StatusCode::OK, "ok"))
        }
    });
    let (url, log) = lab.script(service).await?;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let (transport, asked) = (lab.transport.clone(), get(&url));
        calls.spawn(async move { transport.exchange(asked).await?.into_body().bytes(64).await });
    }
    within("HTTP", "exchanges on every connection", gate.until_waiting(2)).await?;
    gate.open();
    // Those beyond the limit waited for a place and were not refused.
    while let Some(joined) = within("HTTP", "the exchanges", calls.join_next()).await? {
        let body = joined.map_err(|error| failed("", error.to_string()))?;
        ensure_body("HTTP", accepted("HTTP", "one of five", body)?)?;
    }
    let seen = (log.connections(), log.requests().len());
    ensure_eq!("HTTP", seen, (2, 5), "connections and requests with a limit of two");
    Ok(())
}

/// Holds six exchanges at once, then lets them end; answers how many connections the server still has.
async fn six_at_once(lab: &Lab) -> Result<Log, Stop> {
    let gate = Gate::new();
    let held = gate.clone();
    let service = handler(move |_| {
        let held = held.clone();
        async move {
            held.wait().await;
            Ok(HttpResponse::new(StatusCode::OK, "ok"))
        }
    });
    let (url, log) = lab.script(service).await?;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let (transport, asked) = (lab.transport.clone(), get(&url));
        calls.spawn(async move { transport.exchange(asked).await?.into_body().bytes(64).await });
    }
    within("HTTP-25", "six exchanges at once", gate.until_waiting(6)).await?;
    ensure_eq!("HTTP-25", counted(lab), some(6, 6, 0), "open, in use, idle while six exchanges run");
    ensure_eq!("HTTP-25", log.open(), 6, "connections that the server holds");
    gate.open();
    while let Some(joined) = within("HTTP-25", "the exchanges", calls.join_next()).await? {
        let body = joined.map_err(|error| failed("", error.to_string()))?;
        ensure_body("HTTP-25", accepted("HTTP-25", "one of six", body)?)?;
    }
    Ok(log)
}

type Counted = (Option<u64>, Option<u64>, Option<u64>);

fn counted(lab: &Lab) -> Counted {
    let stats = lab.transport.pool_stats();
    (stats.open, stats.in_use, stats.idle)
}

fn some(open: u64, in_use: u64, idle: u64) -> Counted {
    (Some(open), Some(in_use), Some(idle))
}

async fn pool_stats_exact(world: World) -> CaseResult {
    let kept = world.clone().open_with(|setup| setup.max_idle_per_origin = Some(3)).await?;
    kept.needs(HttpFeature::ExactPoolStats)?;
    ensure_eq!("HTTP-25", kept.transport.pool_stats().source, StatsSource::Exact, "the source");
    ensure_eq!("HTTP-25", counted(&kept), some(0, 0, 0), "open, in use, idle before the first call");
    let log = six_at_once(&kept).await?;
    settles("HTTP-25", "open, in use, idle at rest", some(3, 0, 3), || counted(&kept)).await?;
    within("HTTP-25", "three connections at the server", log.until_open_at_most(3)).await?;
    ensure_eq!("HTTP-25", log.open(), 3, "connections that the server holds at rest");
    let stats = kept.transport.pool_stats();
    ensure_eq!("HTTP-25", (stats.opened, stats.closed), (Some(6), Some(3)), "opened and closed, ever");

    let short = world.open_with(|setup| setup.idle_timeout = Some(Duration::from_millis(400))).await?;
    let log = six_at_once(&short).await?;
    within("HTTP-25", "the idle timeout of 400 ms", log.until_open_at_most(0)).await?;
    settles("HTTP-25", "open, in use, idle after the idle timeout", some(0, 0, 0), || counted(&short))
        .await?;
    let stats = short.transport.pool_stats();
    ensure_eq!("HTTP-25", (stats.opened, stats.closed), (Some(6), Some(6)), "opened and closed, ever");
    Ok(())
}
