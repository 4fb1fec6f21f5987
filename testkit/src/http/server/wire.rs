//! Cases of raw bytes: kept connections, streams, malformed requests, clients that leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::http::StatusCode;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use onex_spi::http::HttpResponse;

use super::{World, case};
use crate::http::handler::{Gone, data, handler, streamed};
use crate::http::stage::{answer, broken, failed, numbered, settles, within};
use crate::net::{Gate, RawConnection, RawResponse};
use crate::suite::{Case, CaseResult, Stop};
use crate::{ensure, ensure_eq};

pub(super) fn cases() -> Vec<Case<World>> {
    vec![
        case!("http_server.keep_alive", ["HTTP"], [], keep_alive),
        case!("http_server.byte_by_byte", ["HTTP"], [], byte_by_byte),
        case!("http_server.streams_both_ways", ["HTTP"], [], streams_both_ways),
        case!("http_server.malformed_request", ["HTTP-8"], [], malformed_request),
        case!("http_server.head_limits", ["HTTP-17"], [], head_limits),
        case!("http_server.short_request_body", ["HTTP-7"], [], short_request_body),
        case!("http_server.failing_response_body", ["HTTP-7"], [], failing_response_body),
        case!("http_server.expect_continue", ["HTTP-12"], [], expect_continue),
        case!("http_server.client_leaves", ["HTTP-24"], [], client_leaves),
        case!("http_server.handler_panics", ["HTTP"], [], handler_panics),
    ]
}

async fn send(raw: &mut RawConnection, bytes: impl AsRef<[u8]> + Send) -> CaseResult {
    raw.send(bytes).await.map_err(|error| failed("HTTP", format!("the server took no bytes: {error}")))
}

async fn response(law: &'static str, raw: &mut RawConnection, method: &str) -> Result<RawResponse, Stop> {
    let response = within(law, "a response", raw.response(method)).await?;
    response.map_err(|error| failed(law, format!("no whole response: {error}")))
}

async fn keep_alive(world: World) -> CaseResult {
    let lab = world.open_on_the_wire().await?;
    let (service, count) = numbered(|_, request| match request.url.path() {
        "/204" => answer(204, ""),
        _ => answer(200, "ok"),
    });
    let serving = lab.serve(service).await?;
    let mut raw = lab.connect(&serving).await?;
    // A bodyless answer must leave the connection where the next one begins.
    for (method, path, due) in
        [("GET", "/", "ok"), ("HEAD", "/", ""), ("GET", "/204", ""), ("GET", "/", "ok")]
    {
        send(&mut raw, format!("{method} {path} HTTP/1.1\r\nhost: h\r\n\r\n")).await?;
        ensure_eq!("HTTP", response("HTTP", &mut raw, method).await?.body, due, "{method} {path}");
    }
    // Two requests at once are answered in their order (RFC 9112 section 9.3.2).
    send(
        &mut raw,
        "POST /204 HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\n\r\nxGET / HTTP/1.1\r\nhost: h\r\n\r\n",
    )
    .await?;
    let statuses =
        [response("HTTP", &mut raw, "POST").await?.status, response("HTTP", &mut raw, "GET").await?.status];
    ensure_eq!("HTTP", statuses, [StatusCode::NO_CONTENT, StatusCode::OK], "two requests sent at once");
    ensure_eq!("HTTP", count.get(), 6, "requests that the handler saw");
    // Who says close gets a close; HTTP/1.0 closes unless it says otherwise.
    for last in
        ["GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n", "GET / HTTP/1.0\r\nhost: h\r\n\r\n"]
    {
        let mut raw = lab.connect(&serving).await?;
        send(&mut raw, last).await?;
        ensure_eq!("HTTP", response("HTTP", &mut raw, "GET").await?.body, "ok", "the last answer");
        ensure!(
            "HTTP",
            within("HTTP", "the end", raw.ended_cleanly()).await?,
            "not closed in order after {last:?}"
        );
    }
    Ok(())
}

async fn byte_by_byte(world: World) -> CaseResult {
    let lab = world.open_on_the_wire().await?;
    let service = handler(|mut request| async move {
        let body = std::mem::take(&mut request.body).bytes(1 << 20).await?;
        Ok(HttpResponse::new(StatusCode::OK, body))
    });
    let serving = lab.serve(service).await?;
    let bodies = [
        "content-length: 11\r\n\r\nhello world",
        "transfer-encoding: chunked\r\n\r\n6;x=1\r\nhello \r\n005\r\nworld\r\n0\r\nx-trailer: 1\r\n\r\n",
    ];
    for body in bodies {
        let mut raw = lab.connect(&serving).await?;
        for byte in format!("POST / HTTP/1.1\r\nhost: h\r\n{body}").as_bytes().chunks(1) {
            send(&mut raw, byte).await?;
            tokio::task::yield_now().await;
        }
        ensure_eq!(
            "HTTP",
            response("HTTP", &mut raw, "POST").await?.body,
            "hello world",
            "a body by single bytes"
        );
    }
    Ok(())
}

async fn streams_both_ways(world: World) -> CaseResult {
    let lab = world.open_on_the_wire().await?;
    let (half, more) = (Gate::new(), Gate::new());
    let (came, may) = (half.clone(), more.clone());
    let service = handler(move |mut request| {
        let (came, may) = (came.clone(), may.clone());
        async move {
            let first = request.body.frame().await.transpose()?.and_then(|frame| frame.into_data().ok());
            came.open();
            let rest = std::mem::take(&mut request.body).bytes(1 << 20).await?;
            let body = Bytes::from([&first.unwrap_or_default()[..], &rest[..]].concat());
            let tail = stream::once(async move {
                may.wait().await;
                Ok(http_body::Frame::data(body))
            });
            Ok(HttpResponse::new(StatusCode::OK, streamed(stream::iter([data("head ")]).chain(tail))))
        }
    });
    let serving = lab.serve(service).await?;
    let mut raw = lab.connect(&serving).await?;
    send(&mut raw, "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n6\r\nearly \r\n").await?;
    within("HTTP", "the first part of a request whose end was not sent", half.wait()).await?;
    send(&mut raw, "4\r\nlate\r\n0\r\n\r\n").await?;
    // The handler is asked for its second part only after its first: nobody buffered the whole.
    within("HTTP", "the second part of the response", more.until_waiting(1)).await?;
    more.open();
    let found = response("HTTP", &mut raw, "POST").await?;
    ensure_eq!("HTTP", found.body, "head early late", "the streamed answer");
    Ok(())
}

async fn malformed_request(world: World) -> CaseResult {
    let lab = world.open_on_the_wire().await?;
    let (service, count) = numbered(|_, _| answer(200, ""));
    let serving = lab.serve(service).await?;
    let table = [
        ("another protocol", "SSH-2.0-OpenSSH_9.9\r\n\r\n"),
        ("no target", "GET\r\n\r\n"),
        ("a header without a colon", "GET / HTTP/1.1\r\nhost: h\r\nnonsense\r\n\r\n"),
        ("a header name with a space", "GET / HTTP/1.1\r\nhost: h\r\nx y: 1\r\n\r\n"),
        ("no host", "GET / HTTP/1.1\r\n\r\n"),
        ("a host that is none", "GET / HTTP/1.1\r\nhost: a b\r\n\r\n"),
        ("two lengths", "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\ncontent-length: 5\r\n\r\nabcde"),
        ("a length that is no number", "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: +3\r\n\r\nabc"),
    ];
    for (what, bytes) in table {
        let mut raw = lab.connect(&serving).await?;
        send(&mut raw, bytes).await?;
        let found = response("HTTP-8", &mut raw, "GET").await?;
        ensure_eq!("HTTP-8", found.status, StatusCode::BAD_REQUEST, "the answer to {what}");
        ensure_eq!("HTTP-8", count.get(), 0, "handlers reached by {what}");
    }
    // The server is well afterwards.
    let mut raw = lab.connect(&serving).await?;
    send(&mut raw, "GET / HTTP/1.1\r\nhost: h\r\n\r\n").await?;
    ensure_eq!("HTTP-8", response("HTTP-8", &mut raw, "GET").await?.status, StatusCode::OK, "a good request");
    settles("HTTP-8", "exchanges in flight", 0, || serving.in_flight()).await
}

async fn head_limits(world: World) -> CaseResult {
    let lab = world.open_on_the_wire().await?;
    let (service, count) = numbered(|_, _| answer(200, ""));
    let serving = lab.serve(service).await?;
    let mut raw = lab.connect(&serving).await?;
    send(&mut raw, "GET / HTTP/1.1\r\nhost: h\r\n").await?;
    let line = format!("x-more: {}\r\n", "a".repeat(1000));
    let endless = async {
        // Up to 64 MiB, which no server should take for a head.
        for _ in 0..64 << 10 {
            if raw.send(&line).await.is_err() {
                return true;
            }
        }
        false
    };
    let refused = within("HTTP-17", "the end of a connection with endless headers", endless).await?;
    ensure!("HTTP-17", refused, "64 MiB of headers were taken");
    ensure_eq!("HTTP-17", count.get(), 0, "handlers reached by endless headers");
    Ok(())
}

async fn short_request_body(world: World) -> CaseResult {
    let lab = world.open_on_the_wire().await?;
    let mut all = Vec::new();
    for body in ["content-length: 10\r\n\r\n01234", "transfer-encoding: chunked\r\n\r\n5\r\n01234\r\n"] {
        let (whole, gone, came) = (Arc::new(AtomicUsize::new(0)), Gate::new(), Gate::new());
        let (counted, left, reached) = (whole.clone(), gone.clone(), came.clone());
        let service = handler(move |mut request| {
            let (counted, reached, gone) = (counted.clone(), reached.clone(), Gone(left.clone()));
            async move {
                let _gone = gone;
                let first = request.body.frame().await;
                reached.open();
                if first.is_some_and(|frame| frame.is_ok()) {
                    std::mem::take(&mut request.body).bytes(1 << 20).await?;
                    counted.fetch_add(1, Ordering::SeqCst);
                }
                Ok(answer(200, ""))
            }
        });
        let serving = lab.serve(service).await?;
        let mut raw = lab.connect(&serving).await?;
        send(&mut raw, format!("POST / HTTP/1.1\r\nhost: h\r\n{body}")).await?;
        within("HTTP-7", "the first part of a request body", came.wait()).await?;
        raw.finish().await.map_err(|error| broken("finishing", error))?;
        within("HTTP-7", "the end of a handler whose request was cut", gone.wait()).await?;
        ensure_eq!("HTTP-7", whole.load(Ordering::SeqCst), 0, "short bodies that a handler took for whole");
        settles("HTTP-7", "exchanges in flight", 0, || serving.in_flight()).await?;
        all.push(serving);
    }
    Ok(())
}

async fn failing_response_body(world: World) -> CaseResult {
    let lab = world.open_on_the_wire().await?;
    let service = handler(|_| async {
        let spoilt = onex_spi::Error::new(onex_spi::ErrorKind::Unavailable, "case.body", "the disk is gone");
        Ok(HttpResponse::new(StatusCode::OK, streamed(stream::iter([data("first"), Err(spoilt)]))))
    });
    let serving = lab.serve(service).await?;
    let mut raw = lab.connect(&serving).await?;
    send(&mut raw, "GET / HTTP/1.1\r\nhost: h\r\n\r\n").await?;
    let found = within("HTTP-7", "the end of a body that fails", raw.response("GET")).await?;
    ensure!("HTTP-7", found.is_err(), "a body that failed was sent as a shorter success: {found:?}");
    Ok(())
}

async fn expect_continue(world: World) -> CaseResult {
    let lab = world.open_on_the_wire().await?;
    let service = handler(|mut request| async move {
        if request.url.path() == "/refused" {
            return Ok(answer(417, ""));
        }
        let body = std::mem::take(&mut request.body).bytes(1 << 20).await?;
        Ok(HttpResponse::new(StatusCode::OK, body))
    });
    let serving = lab.serve(service).await?;
    let head = |path: &str| {
        format!("POST {path} HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
    };
    let mut raw = lab.connect(&serving).await?;
    send(&mut raw, head("/")).await?;
    let interim = within("HTTP-12", "100 before the body", raw.interim()).await?;
    let interim = interim.map_err(|error| failed("HTTP-12", format!("no 100: {error}")))?;
    ensure_eq!("HTTP-12", interim, StatusCode::CONTINUE, "the answer before the body");
    send(&mut raw, "hello").await?;
    ensure_eq!(
        "HTTP-12",
        response("HTTP-12", &mut raw, "POST").await?.body,
        "hello",
        "the answer after the body"
    );
    let mut raw = lab.connect(&serving).await?;
    send(&mut raw, head("/refused")).await?;
    let found = response("HTTP-12", &mut raw, "POST").await?;
    ensure_eq!("HTTP-12", found.status.as_u16(), 417, "a handler that does not want the body");
    Ok(())
}

async fn client_leaves(world: World) -> CaseResult {
    let lab = world.open_on_the_wire().await?;
    let (came, gone) = (Gate::new(), Gate::new());
    let (reached, left) = (came.clone(), gone.clone());
    let silent = handler(move |_| {
        let (reached, gone) = (reached.clone(), Gone(left.clone()));
        async move {
            let _gone = gone;
            reached.wait().await;
            Ok(answer(200, ""))
        }
    });
    let serving = lab.serve(silent).await?;
    let mut raw = lab.connect(&serving).await?;
    send(&mut raw, "GET / HTTP/1.1\r\nhost: h\r\n\r\n").await?;
    within("HTTP-24", "the handler", came.until_waiting(1)).await?;
    ensure_eq!("HTTP-24", serving.in_flight(), 1, "exchanges in flight while the handler runs");
    drop(raw);
    within("HTTP-24", "the end of the handler after its client left", gone.wait()).await?;
    settles("HTTP-24", "exchanges in flight", 0, || serving.in_flight()).await?;

    // The same while the body is sent; a reset is as good as an end.
    let gone = Gate::new();
    let left = gone.clone();
    let streaming = handler(move |_| {
        let gone = Gone(left.clone());
        async move {
            let rest = stream::once(async move {
                let _gone = gone;
                std::future::pending().await
            });
            Ok(HttpResponse::new(StatusCode::OK, streamed(stream::iter([data("first")]).chain(rest))))
        }
    });
    let serving = lab.serve(streaming).await?;
    let mut raw = lab.connect(&serving).await?;
    send(&mut raw, "GET / HTTP/1.1\r\nhost: h\r\n\r\n").await?;
    let head = within("HTTP-24", "the head", raw.interim()).await?;
    ensure!(
        "HTTP-24",
        head.is_ok_and(|status| status == StatusCode::OK),
        "no head before a body that stalls"
    );
    raw.reset().map_err(|error| broken("a reset", error))?;
    within("HTTP-24", "the end of the body after its client left", gone.wait()).await?;
    settles("HTTP-24", "exchanges in flight", 0, || serving.in_flight()).await
}

async fn handler_panics(world: World) -> CaseResult {
    let lab = world.open_on_the_wire().await?;
    let service = handler(|request| async move {
        assert!(request.url.path() != "/panic", "the handler panics, as the case asks");
        Ok(answer(200, "ok"))
    });
    let serving = lab.serve(service).await?;
    let mut raw = lab.connect(&serving).await?;
    send(&mut raw, "GET /panic HTTP/1.1\r\nhost: h\r\n\r\n").await?;
    // 500 or a closed connection; never silence and never a success.
    let found = within("HTTP", "an end of the exchange that panicked", raw.response("GET")).await?;
    if let Ok(found) = found {
        ensure_eq!("HTTP", found.status, StatusCode::INTERNAL_SERVER_ERROR, "the answer of a panic");
    }
    let mut raw = lab.connect(&serving).await?;
    send(&mut raw, "GET / HTTP/1.1\r\nhost: h\r\n\r\n").await?;
    ensure_eq!("HTTP", response("HTTP", &mut raw, "GET").await?.body, "ok", "the exchange after a panic");
    settles("HTTP", "exchanges in flight", 0, || serving.in_flight()).await?;
    // A panic must not hold up the close.
    let closed = within("HTTP-41", "close", serving.close(Duration::from_secs(10))).await?;
    closed.map_err(|error| failed("HTTP-41", format!("close after a panic: {error:#}")))
}
