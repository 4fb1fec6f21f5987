//! Cases about ends: counting, closing, dropping.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::poll_immediate;
use onex_spi::http::HttpService;
use onex_spi::{Effect, ErrorKind, Health};

use super::{ANY_PORT, Asked, Lost, World, came, case, until_refused};
use crate::http::handler::{Gone, handler};
use crate::http::stage::{accepted, answer, broken, failed, numbered, refused, settles, within};
use crate::net::Gate;
use crate::suite::{Case, CaseResult};
use crate::{ensure, ensure_eq};

pub(super) fn cases() -> Vec<Case<World>> {
    vec![
        case!("http_server.in_flight", ["HTTP"], [], in_flight),
        case!("http_server.close_drains", ["HTTP-41"], [], close_drains),
        case!("http_server.close_cuts", ["HTTP-41"], [], close_cuts),
        case!("http_server.close_dropped", ["HTTP-41"], [], close_dropped),
        case!("http_server.close_ends_idle", ["HTTP-41"], [], close_ends_idle),
        case!("http_server.close_of_the_server", ["HTTP-41"], [], close_of_the_server),
        case!("http_server.drop_cuts", ["HTTP-24"], [], drop_cuts),
    ]
}

/// A handler that waits for `may` and opens `gone` when it ends.
fn held(may: &Gate, gone: &Gate) -> Arc<dyn HttpService> {
    let (may, gone) = (may.clone(), gone.clone());
    handler(move |_| {
        let (may, gone) = (may.clone(), Gone(gone.clone()));
        async move {
            let _gone = gone;
            may.wait().await;
            Ok(answer(200, "ok"))
        }
    })
}

async fn in_flight(world: World) -> CaseResult {
    let lab = world.open().await?;
    let (may, gone) = (Gate::new(), Gate::new());
    let serving = lab.serve(held(&may, &gone)).await?;
    ensure_eq!("HTTP", serving.in_flight(), 0, "exchanges in flight before the first");
    let mut calls = tokio::task::JoinSet::new();
    for running in 1..=3 {
        calls.spawn(lab.ask(serving.local_addr(), Asked::get("/")));
        within("HTTP", "the handler", may.until_waiting(running)).await?;
        ensure_eq!("HTTP", serving.in_flight(), running, "exchanges in flight");
    }
    may.open();
    while let Some(joined) = within("HTTP", "the exchanges", calls.join_next()).await? {
        came("HTTP", "one of three", joined.map_err(|error| failed("", error.to_string()))?)?;
    }
    settles("HTTP", "exchanges in flight at rest", 0, || serving.in_flight()).await
}

async fn close_drains(world: World) -> CaseResult {
    let lab = world.open().await?;
    let (may, gone) = (Gate::new(), Gate::new());
    let serving = lab.serve(held(&may, &gone)).await?;
    let address = serving.local_addr();
    let running = tokio::spawn(lab.ask(address, Asked::get("/")));
    within("HTTP-41", "the handler", may.until_waiting(1)).await?;
    let mut close = pin!(serving.close(Duration::from_secs(60)));
    let early = poll_immediate(&mut close).await;
    ensure!("HTTP-41", early.is_none(), "close did not wait for the running exchange: {early:?}");
    let drained = async {
        until_refused("HTTP-41", &lab, address).await?;
        may.open();
        Ok::<_, crate::suite::Stop>(())
    };
    let (closed, drained) =
        within("HTTP-41", "a close that drains", async { tokio::join!(close, drained) }).await?;
    drained?;
    accepted("HTTP-41", "close after the last exchange", closed)?;
    let answered = within("HTTP-41", "the running exchange", running).await?;
    let answered =
        came("HTTP-41", "the running exchange", answered.map_err(|error| failed("", error.to_string()))?)?;
    ensure_eq!("HTTP-41", answered.body, "ok", "a running exchange gets its time");
    let again = within("HTTP-41", "a second close", serving.close(Duration::from_secs(1))).await?;
    accepted("HTTP-41", "a second close", again)?;
    ensure!("HTTP-41", serving.health().await != Health::Healthy, "what is closed says that it is healthy");
    // The server itself goes on.
    let (service, _) = numbered(|_, _| answer(200, "next"));
    let next = lab.serve(service).await?;
    let asked = within("HTTP-41", "an exchange", lab.ask(next.local_addr(), Asked::get("/"))).await?;
    ensure_eq!(
        "HTTP-41",
        came("HTTP-41", "another address", asked)?.body,
        "next",
        "another address of the server"
    );
    Ok(())
}

async fn close_cuts(world: World) -> CaseResult {
    const LIMIT: Duration = Duration::from_millis(200);
    let lab = world.open().await?;
    let (may, gone) = (Gate::new(), Gate::new());
    let serving = lab.serve(held(&may, &gone)).await?;
    let running = tokio::spawn(lab.ask(serving.local_addr(), Asked::get("/")));
    within("HTTP-41", "the handler", may.until_waiting(1)).await?;
    let begin = Instant::now();
    let closed = within("HTTP-41", "a close that cuts", serving.close(LIMIT)).await?;
    let took = begin.elapsed();
    let error = refused("HTTP-41", "a close that cut an exchange", closed)?;
    ensure_eq!("HTTP-41", error.kind(), ErrorKind::TimedOut, "a close that cut an exchange: {error:#}");
    ensure!("HTTP-41", took >= LIMIT, "close cut after {took:?}, which is before {LIMIT:?}");
    within("HTTP-41", "the end of the handler", gone.wait()).await?;
    let cut = within("HTTP-41", "the end of the exchange", running).await?;
    let cut = cut.map_err(|error| failed("", error.to_string()))?;
    ensure!("HTTP-41", matches!(cut, Err(Lost::Cut(_))), "an exchange that was cut came to {cut:?}");
    settles("HTTP-41", "exchanges in flight", 0, || serving.in_flight()).await?;
    until_refused("HTTP-41", &lab, serving.local_addr()).await
}

async fn close_dropped(world: World) -> CaseResult {
    const LIMIT: Duration = Duration::from_millis(300);
    let lab = world.open().await?;
    let (may, gone) = (Gate::new(), Gate::new());
    let serving = lab.serve(held(&may, &gone)).await?;
    let running = tokio::spawn(lab.ask(serving.local_addr(), Asked::get("/")));
    within("HTTP-41", "the handler", may.until_waiting(1)).await?;
    let begin = Instant::now();
    let early = poll_immediate(serving.close(LIMIT)).await;
    ensure!("HTTP-41", early.is_none(), "close did not wait for the running exchange: {early:?}");
    // The first close set the time; one more waits for the end of it.
    let again = serving.close(Duration::from_secs(3600));
    let again = within("HTTP-41", "the cut of a close that was dropped", again).await?;
    let took = begin.elapsed();
    ensure!("HTTP-41", took >= LIMIT, "closing again did not wait: it ended after {took:?}");
    let kind = again.err().map(|error| error.kind());
    ensure!("HTTP-41", matches!(kind, None | Some(ErrorKind::TimedOut)), "closing again: {kind:?}");
    within("HTTP-41", "the end of the handler", gone.wait()).await?;
    let cut = within("HTTP-41", "the end of the exchange", running).await?;
    let cut = cut.map_err(|error| failed("", error.to_string()))?;
    ensure!("HTTP-41", matches!(cut, Err(Lost::Cut(_))), "an exchange that was cut came to {cut:?}");
    until_refused("HTTP-41", &lab, serving.local_addr()).await
}

async fn close_ends_idle(world: World) -> CaseResult {
    let lab = world.open_on_the_wire().await?;
    let (service, _) = numbered(|_, _| answer(200, "ok"));
    let serving = lab.serve(service).await?;
    // One connection that was used and is kept, one that never sent a byte, one in the middle of a head.
    let mut kept = lab.connect(&serving).await?;
    kept.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.map_err(|error| broken("sending", error))?;
    let found = within("HTTP-41", "a response", kept.response("GET")).await?;
    ensure!("HTTP-41", found.is_ok(), "no response before the close: {found:?}");
    let mut fresh = lab.connect(&serving).await?;
    settles("HTTP-41", "exchanges in flight", 0, || serving.in_flight()).await?;
    let begin = Instant::now();
    let closed = within("HTTP-41", "close", serving.close(Duration::from_secs(20))).await?;
    accepted("HTTP-41", "close with idle connections", closed)?;
    ensure!("HTTP-41", begin.elapsed() < Duration::from_secs(15), "idle connections held up the close");
    ensure!(
        "HTTP-41",
        within("HTTP-41", "the end", kept.ended_cleanly()).await?,
        "a kept connection was not ended in order"
    );
    // It may not have been accepted before the close; then it ends by a reset.
    let _ = within("HTTP-41", "the end of a fresh connection", fresh.ended_cleanly()).await?;
    Ok(())
}

async fn close_of_the_server(world: World) -> CaseResult {
    let lab = world.open().await?;
    let (service, _) = numbered(|_, _| answer(200, "ok"));
    let serving = lab.serve(service.clone()).await?;
    let asked = within("HTTP-41", "an exchange", lab.ask(serving.local_addr(), Asked::get("/"))).await?;
    came("HTTP-41", "an exchange", asked)?;
    for round in ["close", "a second close"] {
        let closed = within("HTTP-41", round, lab.server.close(Duration::from_secs(10))).await?;
        accepted("HTTP-41", round, closed)?;
        let late =
            within("HTTP-41", "serve after close", lab.server.serve(ANY_PORT, service.clone())).await?;
        let error = refused("HTTP-41", "serve after close", late)?;
        let told = (error.kind(), error.effect());
        ensure_eq!(
            "HTTP-41",
            told,
            (ErrorKind::Closed, Effect::NotApplied),
            "serve after {round}: {error:#}"
        );
    }
    until_refused("HTTP-41", &lab, serving.local_addr()).await?;
    ensure!(
        "HTTP-41",
        lab.server.health().await != Health::Healthy,
        "a closed server says that it is healthy"
    );
    Ok(())
}

async fn drop_cuts(world: World) -> CaseResult {
    let lab = world.open().await?;
    let (may, gone) = (Gate::new(), Gate::new());
    let serving = lab.serve(held(&may, &gone)).await?;
    let address = serving.local_addr();
    let running = tokio::spawn(lab.ask(address, Asked::get("/")));
    within("HTTP-24", "the handler", may.until_waiting(1)).await?;
    drop(serving);
    within("HTTP-24", "the end of the handler after the handle was dropped", gone.wait()).await?;
    let cut = within("HTTP-24", "the end of the exchange", running).await?;
    let cut = cut.map_err(|error| failed("", error.to_string()))?;
    ensure!("HTTP-24", matches!(cut, Err(Lost::Cut(_))), "an exchange that was cut came to {cut:?}");
    until_refused("HTTP-24", &lab, address).await
}
