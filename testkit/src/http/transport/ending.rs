//! Cases about ends: a call that is dropped, an engine that is closed, a route that is not there.

use std::pin::pin;
use std::time::Duration;

use ::http::StatusCode;
use futures_util::future::poll_immediate;
use futures_util::{StreamExt, stream};
use onex_spi::http::{HttpFeature, HttpReason, HttpResponse, HttpService, HttpUrl};
use onex_spi::{BoxFuture, Effect, ErrorKind, Health};
use std::sync::Arc;

use super::{Case, CaseResult, Lab, World, case};
use crate::http::handler::{Gone, data, handler, streamed};
use crate::http::stage::{accepted, failed, get, reason, refused, settles, whole, within};
use crate::net::Gate;
use crate::suite::Stop;
use crate::{ensure, ensure_eq};

pub(super) fn cases() -> Vec<Case<World>> {
    vec![
        case!("http.cancel_safety", ["HTTP-24"], [], cancel_safety),
        case!("http.cancel_body", ["HTTP-24"], [], cancel_body),
        case!("http.drop_ends_all", ["HTTP-24"], [], drop_ends_all),
        case!("http.close_then_closed", ["HTTP-41"], ["ONEX-HTTP-24"], close_then_closed),
        case!("http.close_drains", ["HTTP-41"], ["ONEX-HTTP-24"], close_drains),
        case!("http.close_cuts", ["HTTP-41"], ["ONEX-HTTP-24"], close_cuts),
        case!("http.close_dropped", ["HTTP-41"], ["ONEX-HTTP-24"], close_dropped),
        case!("http.unmatched_route_is_error", ["HTTP-35"], [], unmatched_route_is_error),
    ]
}

/// A handler that says when it was reached and when it is gone, and answers when it may.
#[derive(Clone, Default)]
struct Held {
    may_answer: Gate,
    gone: Gate,
}

impl Held {
    fn service(&self) -> Arc<dyn HttpService> {
        let held = self.clone();
        handler(move |_| {
            let held = held.clone();
            async move {
                let _gone = Gone(held.gone.clone());
                held.may_answer.wait().await;
                Ok(HttpResponse::new(StatusCode::OK, "ok"))
            }
        })
    }

    /// Sends a body whose second part is made when it may, and never ends before.
    fn streaming(&self) -> Arc<dyn HttpService> {
        let held = self.clone();
        handler(move |_| {
            let held = held.clone();
            async move {
                let gone = Gone(held.gone.clone());
                let rest = stream::once(async move {
                    let _gone = gone;
                    held.may_answer.wait().await;
                    data("second")
                });
                Ok(HttpResponse::new(StatusCode::OK, streamed(stream::iter([data("first ")]).chain(rest))))
            }
        })
    }
}

async fn nothing_in_use(lab: &Lab) -> CaseResult {
    if !lab.has(HttpFeature::ExactPoolStats) {
        return Ok(());
    }
    let now = || {
        let stats = lab.transport.pool_stats();
        (stats.in_use, stats.open)
    };
    settles("HTTP-24", "in use and open after the drop", (Some(0), Some(0)), now).await
}

async fn still_works(lab: &Lab, law: &'static str) -> CaseResult {
    let url = lab.serve(handler(|_| async { Ok(HttpResponse::new(StatusCode::OK, "ok")) })).await?;
    let response = accepted(
        law,
        "the next call",
        within(law, "the next call", lab.transport.exchange(get(&url))).await?,
    )?;
    let body = whole(law, response.into_body()).await?;
    if body == "ok" { Ok(()) } else { Err(failed(law, format!("the next call answered {body:?}"))) }
}

async fn cancel_safety(world: World) -> CaseResult {
    let lab = world.open().await?;
    let held = Held::default();
    let url = lab.serve(held.service()).await?;
    {
        let mut call = pin!(lab.transport.exchange(get(&url)));
        let reached = held.may_answer.until_waiting(1);
        let early = within("HTTP-24", "the handler", async {
            tokio::select! {
                answer = &mut call => Some(answer.map(|response| response.status)),
                () = reached => None,
            }
        })
        .await?;
        ensure!("HTTP-24", early.is_none(), "the call ended before its handler: {early:?}");
    }
    within("HTTP-24", "the end of the exchange at the server after the call was dropped", held.gone.wait())
        .await?;
    nothing_in_use(&lab).await?;
    still_works(&lab, "HTTP-24").await
}

async fn cancel_body(world: World) -> CaseResult {
    let lab = world.open().await?;
    let held = Held::default();
    let url = lab.serve(held.streaming()).await?;
    let answer = within("HTTP-24", "the head", lab.transport.exchange(get(&url))).await?;
    let mut body = accepted("HTTP-24", "the head", answer)?.into_body();
    let first = within("HTTP-24", "the first frame", body.frame()).await?;
    let first = accepted("HTTP-24", "the first frame", first.transpose())?;
    ensure!("HTTP-24", first.is_some(), "the body ended before its first frame");
    drop(body);
    within("HTTP-24", "the end of the exchange at the server after the body was dropped", held.gone.wait())
        .await?;
    nothing_in_use(&lab).await?;
    still_works(&lab, "HTTP-24").await
}

async fn drop_ends_all(world: World) -> CaseResult {
    let lab = world.open().await?;
    let held = Held::default();
    let url = lab.serve(held.streaming()).await?;
    let answer = within("HTTP-24", "the head", lab.transport.exchange(get(&url))).await?;
    let mut body = accepted("HTTP-24", "the head", answer)?.into_body();
    let Lab { transport, stage } = lab;
    // A body outlives its transport and is whole all the same.
    drop(transport);
    let first = within("HTTP-24", "the first frame", body.frame()).await?;
    ensure!(
        "HTTP-24",
        matches!(first, Some(Ok(_))),
        "a body ended with the handle of its transport: {first:?}"
    );
    held.may_answer.open();
    ensure_eq!(
        "HTTP-24",
        whole("HTTP-24", body).await?,
        "second",
        "the rest after the transport was dropped"
    );
    within("HTTP-24", "the end of the exchange", held.gone.wait()).await?;
    drop(stage);
    Ok(())
}

async fn close_then_closed(world: World) -> CaseResult {
    let lab = world.open().await?;
    let url = lab.serve(handler(|_| async { Ok(HttpResponse::new(StatusCode::OK, "ok")) })).await?;
    let answer = within("HTTP-41", "an exchange", lab.transport.exchange(get(&url))).await?;
    whole("HTTP-41", accepted("HTTP-41", "an exchange", answer)?.into_body()).await?;
    let health = within("HTTP-41", "health", lab.transport.health()).await?;
    ensure_eq!("HTTP-41", health, Health::Healthy, "the health of an open transport");
    for round in ["close", "a second close"] {
        let closed = within("HTTP-41", round, lab.transport.close(Duration::from_secs(10))).await?;
        accepted("HTTP-41", round, closed)?;
        let answer = within("HTTP-41", "a call after close", lab.transport.exchange(get(&url))).await?;
        let error = refused("HTTP-41", "a call after close", answer)?;
        let told = (error.kind(), error.effect());
        ensure_eq!(
            "HTTP-41",
            told,
            (ErrorKind::Closed, Effect::NotApplied),
            "a call after {round}: {error:#}"
        );
    }
    if lab.has(HttpFeature::ExactPoolStats) {
        settles("HTTP-41", "open connections after close", Some(0), || lab.transport.pool_stats().open)
            .await?;
    }
    let health = within("HTTP-41", "health", lab.transport.health()).await?;
    ensure!("HTTP-41", health != Health::Healthy, "a closed transport says that it is healthy");
    Ok(())
}

/// Begins a call and waits until its handler has it.
async fn begin<'a>(
    lab: &'a Lab,
    held: &Held,
    url: &HttpUrl,
) -> Result<BoxFuture<'a, onex_spi::Result<HttpResponse>>, Stop> {
    let mut call = lab.transport.exchange(get(url));
    let early = within("HTTP-41", "the handler", async {
        tokio::select! {
            answer = &mut call => Some(answer.map(|response| response.status)),
            () = held.may_answer.until_waiting(1) => None,
        }
    })
    .await?;
    match early {
        Some(answer) => Err(failed("HTTP-41", format!("the call ended before its handler: {answer:?}"))),
        None => Ok(call),
    }
}

async fn close_drains(world: World) -> CaseResult {
    let lab = world.open().await?;
    let held = Held::default();
    let url = lab.serve(held.service()).await?;
    let call = begin(&lab, &held, &url).await?;
    let mut close = pin!(lab.transport.close(Duration::from_secs(60)));
    let early = poll_immediate(&mut close).await;
    ensure!("HTTP-41", early.is_none(), "close did not wait for the running call: {early:?}");
    let answer = within("HTTP-41", "a call while closing", lab.transport.exchange(get(&url))).await?;
    let error = refused("HTTP-41", "a call while closing", answer)?;
    ensure_eq!("HTTP-41", error.kind(), ErrorKind::Closed, "a call while closing: {error:#}");
    held.may_answer.open();
    let (answer, closed) = within("HTTP-41", "the running call and the close", async {
        tokio::join!(
            async {
                let response = call.await?;
                response.into_body().bytes(64).await
            },
            close
        )
    })
    .await?;
    ensure_eq!(
        "HTTP-41",
        accepted("HTTP-41", "the running call", answer)?,
        "ok",
        "the running call gets its time"
    );
    accepted("HTTP-41", "close after the last call ended", closed)
}

async fn close_cuts(world: World) -> CaseResult {
    const LIMIT: Duration = Duration::from_millis(200);
    let lab = world.open().await?;
    let held = Held::default();
    let url = lab.serve(held.service()).await?;
    let call = begin(&lab, &held, &url).await?;
    let begin = std::time::Instant::now();
    let (answer, closed) = within("HTTP-41", "a close that cuts", async {
        tokio::join!(call, async { (lab.transport.close(LIMIT).await, begin.elapsed()) })
    })
    .await?;
    let (closed, took) = closed;
    let error = refused("HTTP-41", "a close that cut a call", closed)?;
    ensure_eq!("HTTP-41", error.kind(), ErrorKind::TimedOut, "a close that cut a call: {error:#}");
    ensure!("HTTP-41", took >= LIMIT, "close cut after {took:?}, which is before {LIMIT:?}");
    let cut = refused("HTTP-41", "a call that was cut", answer)?;
    ensure_eq!("HTTP-41", cut.effect(), Effect::Unknown, "the server may have acted: {cut:#}");
    within("HTTP-41", "the end of the exchange at the server", held.gone.wait()).await?;
    let again = within("HTTP-41", "a second close", lab.transport.close(LIMIT)).await?;
    accepted("HTTP-41", "a second close", again)
}

async fn close_dropped(world: World) -> CaseResult {
    const LIMIT: Duration = Duration::from_millis(300);
    let lab = world.open().await?;
    let held = Held::default();
    let url = lab.serve(held.service()).await?;
    let call = begin(&lab, &held, &url).await?;
    let begin = std::time::Instant::now();
    let early = poll_immediate(lab.transport.close(LIMIT)).await;
    ensure!("HTTP-41", early.is_none(), "close did not wait for the running call: {early:?}");
    let late = within("HTTP-41", "a call after a dropped close", lab.transport.exchange(get(&url))).await?;
    refused("HTTP-41", "a call after a dropped close", late)?;
    // The first close set the time; one more waits for the end of it.
    let again = async { (lab.transport.close(Duration::from_secs(3600)).await, begin.elapsed()) };
    let both = async { tokio::join!(async { (call.await, begin.elapsed()) }, again) };
    let ((call, cut_after), (again, closed_after)) =
        within("HTTP-41", "the cut of a close that was dropped", both).await?;
    refused("HTTP-41", "a call that was cut", call)?;
    ensure!("HTTP-41", cut_after >= LIMIT, "cut after {cut_after:?}, which is before {LIMIT:?}");
    ensure!("HTTP-41", closed_after >= LIMIT, "closing again did not wait: it ended after {closed_after:?}");
    let kind = again.err().map(|error| error.kind());
    ensure!("HTTP-41", matches!(kind, None | Some(ErrorKind::TimedOut)), "closing again: {kind:?}");
    within("HTTP-41", "the end of the exchange at the server", held.gone.wait()).await
}

async fn unmatched_route_is_error(world: World) -> CaseResult {
    let lab = world.open().await?;
    if lab.has(HttpFeature::Wire) {
        return Err(Stop::Ignored("Wire declared: the network has no routes".into()));
    }
    let url = lab.serve(handler(|_| async { Ok(HttpResponse::new(StatusCode::OK, "ok")) })).await?;
    let nowhere = HttpUrl::try_from("http://nowhere.test/orders")?;
    let answer = within("HTTP-35", "an unknown authority", lab.transport.exchange(get(&nowhere))).await?;
    let error = refused("HTTP-35", "an unknown authority", answer)?;
    let told = (error.kind(), error.effect(), reason(&error));
    let due = (ErrorKind::NotFound, Effect::NotApplied, Some(HttpReason::UnmatchedRoute));
    ensure_eq!("HTTP-35", told, due, "an unknown authority: {error:#}");
    let (asked, near) = ("nowhere.test", url.host().to_owned());
    let text = error.to_string();
    ensure!("HTTP-35", text.contains(asked) && text.contains(&near), "not naming {asked} and {near}: {text}");
    Ok(())
}
