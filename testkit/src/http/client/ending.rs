//! Cases about ends: a call that is dropped, a client that is closed, an error that is shown.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::future::poll_immediate;
use futures_util::{StreamExt, stream};
use onex_spi::http::{HttpClientExt, HttpResponse};
use onex_spi::{Effect, ErrorKind, Health};

use super::{Case, CaseResult, Lab, World, case};
use crate::http::handler::{Gone, data, handler, streamed};
use crate::http::stage::{accepted, answer, failed, get, numbered, refused, settles, whole, within};
use crate::net::Gate;
use crate::{ensure, ensure_eq};

pub(super) fn cases() -> Vec<Case<World>> {
    vec![
        case!("http_client.cancel_safety", ["HTTP-24"], [], cancel_safety),
        case!("http_client.cancel_body", ["HTTP-24"], [], cancel_body),
        case!("http_client.close_then_closed", ["HTTP-41"], ["ONEX-HTTP-24"], close_then_closed),
        case!("http_client.close_drains", ["HTTP-41"], ["ONEX-HTTP-24"], close_drains),
        case!("http_client.close_cuts", ["HTTP-41"], ["ONEX-HTTP-24"], close_cuts),
        case!("http_client.close_dropped", ["HTTP-41"], ["ONEX-HTTP-24"], close_dropped),
        case!("http_client.errors_hide_secrets", ["HTTP", "HTTP-41"], ["ONEX-HTTP-07"], errors_hide_secrets),
    ]
}

/// Serves a handler that waits for `gate` and opens `gone` when it ends.
async fn serve_held(
    lab: &Lab,
    gate: &Gate,
    gone: &Gate,
) -> Result<onex_spi::http::HttpUrl, crate::suite::Stop> {
    let (gate, gone) = (gate.clone(), gone.clone());
    lab.serve(handler(move |_| {
        let (gate, gone) = (gate.clone(), Gone(gone.clone()));
        async move {
            let _gone = gone;
            gate.wait().await;
            Ok(answer(200, "ok"))
        }
    }))
    .await
}

/// Polls `call` until its handler has it.
async fn reaches<F>(law: &'static str, call: &mut F, gate: &Gate) -> CaseResult
where
    F: Future<Output = onex_spi::Result<HttpResponse>> + Unpin + Send,
{
    let early = within(law, "the handler", async {
        tokio::select! {
            call = call => Some(call.map(|response| response.status)),
            () = gate.until_waiting(1) => None,
        }
    })
    .await?;
    match early {
        Some(call) => Err(failed(law, format!("the call ended before its handler: {call:?}"))),
        None => Ok(()),
    }
}

async fn still_works(lab: &Lab) -> CaseResult {
    let (service, _) = numbered(|_, _| answer(200, "ok"));
    let url = lab.serve(service).await?;
    let call = within("HTTP-24", "the next call", lab.client.request(get(&url))).await?;
    let body = whole("HTTP-24", accepted("HTTP-24", "the next call", call)?.into_body()).await?;
    ensure_eq!("HTTP-24", body, "ok", "the next call");
    settles("HTTP-24", "calls in flight", 0, || lab.client.client_metrics().in_flight).await
}

async fn cancel_safety(world: World) -> CaseResult {
    let lab = world.open().await?;
    let (gate, gone) = (Gate::new(), Gate::new());
    let url = serve_held(&lab, &gate, &gone).await?;
    let mut call = lab.client.request(get(&url));
    reaches("HTTP-24", &mut call, &gate).await?;
    drop(call);
    within("HTTP-24", "the end of the exchange at the server after the call was dropped", gone.wait())
        .await?;
    ensure_eq!("HTTP-24", lab.client.client_metrics().cancelled, 1, "cancelled calls");
    still_works(&lab).await
}

async fn cancel_body(world: World) -> CaseResult {
    let lab = world.open().await?;
    let gone = Gate::new();
    let left = gone.clone();
    let service = handler(move |_| {
        let gone = Gone(left.clone());
        async move {
            let rest = stream::once(async move {
                let _gone = gone;
                std::future::pending().await
            });
            Ok(HttpResponse::new(::http::StatusCode::OK, streamed(stream::iter([data("first")]).chain(rest))))
        }
    });
    let url = lab.serve(service).await?;
    let call = within("HTTP-24", "the head", lab.client.request(get(&url))).await?;
    let mut body = accepted("HTTP-24", "the head", call)?.into_body();
    let first = within("HTTP-24", "the first frame", body.frame()).await?;
    ensure!("HTTP-24", matches!(first, Some(Ok(_))), "the first frame: {first:?}");
    drop(body);
    within("HTTP-24", "the end of the exchange at the server after the body was dropped", gone.wait())
        .await?;
    still_works(&lab).await
}

async fn close_then_closed(world: World) -> CaseResult {
    let lab = world.open().await?;
    let (service, count) = numbered(|_, _| answer(200, ""));
    let url = lab.serve(service).await?;
    let call = within("HTTP-41", "a call", lab.client.request(get(&url))).await?;
    accepted("HTTP-41", "a call", call)?;
    let health = within("HTTP-41", "health", lab.client.health()).await?;
    ensure_eq!("HTTP-41", health, Health::Healthy, "the health of an open client");
    for round in ["close", "a second close"] {
        accepted(
            "HTTP-41",
            round,
            within("HTTP-41", round, lab.client.close(Duration::from_secs(10))).await?,
        )?;
        let call = within("HTTP-41", "a call after close", lab.client.request(get(&url))).await?;
        let error = refused("HTTP-41", "a call after close", call)?;
        let told = (error.kind(), error.effect());
        ensure_eq!(
            "HTTP-41",
            told,
            (ErrorKind::Closed, Effect::NotApplied),
            "a call after {round}: {error:#}"
        );
    }
    ensure_eq!("HTTP-41", count.get(), 1, "requests that arrived");
    let health = within("HTTP-41", "health", lab.client.health()).await?;
    ensure!("HTTP-41", health != Health::Healthy, "a closed client says that it is healthy");
    Ok(())
}

async fn close_drains(world: World) -> CaseResult {
    let lab = world.open().await?;
    let (gate, gone) = (Gate::new(), Gate::new());
    let url = serve_held(&lab, &gate, &gone).await?;
    let mut call = lab.client.request(get(&url));
    reaches("HTTP-41", &mut call, &gate).await?;
    let mut close = pin!(lab.client.close(Duration::from_secs(60)));
    let early = poll_immediate(&mut close).await;
    ensure!("HTTP-41", early.is_none(), "close did not wait for the running call: {early:?}");
    let late = within("HTTP-41", "a call while closing", lab.client.request(get(&url))).await?;
    let error = refused("HTTP-41", "a call while closing", late)?;
    ensure_eq!("HTTP-41", error.kind(), ErrorKind::Closed, "a call while closing: {error:#}");
    gate.open();
    let both = async { tokio::join!(async { call.await?.into_body().bytes(64).await }, close) };
    let (body, closed) = within("HTTP-41", "the running call and the close", both).await?;
    ensure_eq!(
        "HTTP-41",
        accepted("HTTP-41", "the running call", body)?,
        "ok",
        "the running call gets its time"
    );
    accepted("HTTP-41", "close after the last call ended", closed)
}

async fn close_cuts(world: World) -> CaseResult {
    const LIMIT: Duration = Duration::from_millis(200);
    let lab = world.open().await?;
    let (gate, gone) = (Gate::new(), Gate::new());
    let url = serve_held(&lab, &gate, &gone).await?;
    let mut call = lab.client.request(get(&url));
    reaches("HTTP-41", &mut call, &gate).await?;
    let begin = Instant::now();
    let both = async { tokio::join!(call, async { (lab.client.close(LIMIT).await, begin.elapsed()) }) };
    let (call, (closed, took)) = within("HTTP-41", "a close that cuts", both).await?;
    ensure!("HTTP-41", took >= LIMIT, "close cut after {took:?}, which is before {LIMIT:?}");
    let error = refused("HTTP-41", "a close that cut a call", closed)?;
    ensure_eq!("HTTP-41", error.kind(), ErrorKind::TimedOut, "a close that cut a call: {error:#}");
    let cut = refused("HTTP-41", "a call that was cut", call)?;
    ensure_eq!("HTTP-41", cut.effect(), Effect::Unknown, "the server may have acted: {cut:#}");
    within("HTTP-41", "the end of the exchange at the server", gone.wait()).await
}

async fn close_dropped(world: World) -> CaseResult {
    const LIMIT: Duration = Duration::from_millis(300);
    let lab = world.open().await?;
    let (gate, gone) = (Gate::new(), Gate::new());
    let url = serve_held(&lab, &gate, &gone).await?;
    let mut call = lab.client.request(get(&url));
    reaches("HTTP-41", &mut call, &gate).await?;
    let begin = Instant::now();
    let early = poll_immediate(lab.client.close(LIMIT)).await;
    ensure!("HTTP-41", early.is_none(), "close did not wait for the running call: {early:?}");
    let late = within("HTTP-41", "a call after a dropped close", lab.client.request(get(&url))).await?;
    refused("HTTP-41", "a call after a dropped close", late)?;
    // The first close set the time; one more waits for the end of it.
    let again = async { (lab.client.close(Duration::from_secs(3600)).await, begin.elapsed()) };
    let both = async { tokio::join!(async { (call.await, begin.elapsed()) }, again) };
    let ((call, cut_after), (again, closed_after)) =
        within("HTTP-41", "the cut of a close that was dropped", both).await?;
    refused("HTTP-41", "a call that was cut", call)?;
    ensure!("HTTP-41", cut_after >= LIMIT, "cut after {cut_after:?}, which is before {LIMIT:?}");
    ensure!("HTTP-41", closed_after >= LIMIT, "closing again did not wait: it ended after {closed_after:?}");
    let kind = again.err().map(|error| error.kind());
    ensure!("HTTP-41", matches!(kind, None | Some(ErrorKind::TimedOut)), "closing again: {kind:?}");
    within("HTTP-41", "the end of the exchange at the server", gone.wait()).await
}

async fn errors_hide_secrets(world: World) -> CaseResult {
    let lab = world.open().await?;
    let (gate, gone) = (Gate::new(), Gate::new());
    let url = serve_held(&lab, &gate, &gone).await?;
    let token = secrecy::SecretString::from("s3cret-token");
    let build = || {
        lab.client
            .get(&url)
            .query("api_key", "s3cret-query")
            .header("x-api-key", "s3cret-header")
            .bearer(&token)
    };
    let request = build().into_request()?;
    let shown = format!("{request:?}");
    ensure!("HTTP", !shown.contains("s3cret"), "a request shows a secret: {shown}");
    let mut errors = Vec::new();
    let slow = build().timeout(Duration::from_millis(20)).send();
    errors.push(refused("HTTP", "a slow call", within("HTTP", "a slow call", slow).await?)?);
    // The time is for a client that sends it all the same, which is not judged here.
    let mut wrong = build().timeout(Duration::from_secs(1)).body("abc").into_request()?;
    wrong.headers.insert("content-length", ::http::HeaderValue::from_static("5"));
    errors.push(refused(
        "HTTP",
        "a wrong call",
        within("HTTP", "a wrong call", lab.client.request(wrong)).await?,
    )?);
    lab.client.close(Duration::from_secs(10)).await?;
    let late = within("HTTP-41", "a call after close", build().send()).await?;
    errors.push(refused("HTTP-41", "a call after close", late)?);
    for error in errors {
        let shown = format!("{error} {error:#} {error:?}");
        ensure!("HTTP", !shown.contains("s3cret"), "an error shows a secret: {shown}");
    }
    Ok(())
}
