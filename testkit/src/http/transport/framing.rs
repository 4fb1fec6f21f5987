//! Cases about raw bytes: every coding of a body, what breaks it, what bounds a head.

use std::time::Duration;

use ::http::StatusCode;
use bytes::Bytes;
use onex_spi::http::{HttpFeature, HttpReason, HttpResponse};
use onex_spi::{Error, ErrorKind};

use super::{Case, CaseResult, Lab, World, case};
use crate::http::stage::{
    Read, accepted, failed, get, post, read, read_and_open, reason, refused, whole, within,
};
use crate::net::{Answer, Gate, Script};
use crate::suite::Stop;
use crate::{ensure, ensure_eq};

pub(super) fn cases() -> Vec<Case<World>> {
    vec![
        case!("http.body_codings", ["HTTP-7"], [], body_codings),
        case!("http.short_body_fin", ["HTTP-7"], ["ONEX-HTTPX-10"], short_body_fin),
        case!("http.short_body_rst", ["HTTP-7"], ["ONEX-HTTPX-10"], short_body_rst),
        case!("http.chunked_cut", ["HTTP-7"], ["ONEX-HTTPX-10"], chunked_cut),
        case!("http.chunked_broken", ["HTTP-8"], [], chunked_broken),
        case!("http.chunked_trailers", ["HTTP-9"], [], chunked_trailers),
        case!("http.content_length_conflict", ["HTTP-10"], [], content_length_conflict),
        case!("http.interim_responses", ["HTTP-11"], [], interim_responses),
        case!("http.early_response", ["HTTP-13"], [], early_response),
        case!("http.head_limits", ["HTTP-17"], [], head_limits),
        case!("http.not_http", ["HTTP-8"], [], not_http),
    ]
}

/// The bytes at once, and one at a time.
fn both(bytes: impl Into<Bytes>) -> [Script; 2] {
    let bytes = bytes.into();
    [Script::new().send(bytes.clone()), Script::new().bytewise(bytes)]
}

async fn exchange(
    lab: &Lab,
    law: &'static str,
    script: impl Into<Answer> + Send,
) -> Result<onex_spi::Result<HttpResponse>, Stop> {
    let (url, _) = lab.script(script).await?;
    within(law, "the head of a response", lab.transport.exchange(get(&url))).await
}

async fn body_codings(world: World) -> CaseResult {
    let lab = world.open().await?;
    lab.needs(HttpFeature::Wire)?;
    let table = [
        ("a length", "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello world", "hello world", false),
        ("a length of zero", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "", false),
        (
            "chunks",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n",
            "hello world",
            false,
        ),
        (
            "chunks with extensions, leading zeros and capitals",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n00A;x=\"1\"\r\nhello worl\r\n1;y\r\nd\r\n000\r\n\r\n",
            "hello world",
            false,
        ),
        ("until the end", "HTTP/1.1 200 OK\r\n\r\nhello world", "hello world", true),
        ("HTTP/1.0", "HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nhello world", "hello world", true),
        ("no reason phrase", "HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\nok", "ok", false),
    ];
    for (what, bytes, due, ends) in table {
        for script in both(bytes) {
            let script = if ends { script.fin() } else { script };
            let response = accepted("HTTP-7", what, exchange(&lab, "HTTP-7", script).await?)?;
            ensure_eq!("HTTP-7", response.status, StatusCode::OK, "the status of {what}");
            let body = whole("HTTP-7", response.into_body()).await?;
            ensure_eq!("HTTP-7", body, due, "the body by {what}");
        }
    }
    Ok(())
}

/// Reads ten of a hundred bytes, then opens the gate that lets the script go on to its end.
async fn short_body(
    lab: &Lab,
    script: impl Fn(Script, &Gate) -> Script,
    head: &'static str,
) -> Result<[Read; 2], Stop> {
    let mut found = Vec::new();
    for script_of_body in both(head) {
        let gate = Gate::new();
        let answer = exchange(lab, "HTTP-7", script(script_of_body, &gate)).await?;
        let mut body = accepted("HTTP-7", "the head before a short body", answer)?.into_body();
        found.push(read_and_open("HTTP-7", &mut body, Some((10, &gate))).await?);
    }
    <[Read; 2]>::try_from(found).map_err(|_| failed("", "two runs".into()))
}

fn judge_short(found: Read, what: &str, due: &[HttpReason]) -> CaseResult {
    ensure_eq!("HTTP-7", found.data, "0123456789", "the bytes before {what}");
    let Some(error) = found.error else {
        return Err(failed("HTTP-7", format!("{what} ended as a shorter success")));
    };
    ensure!(
        "HTTP-7",
        reason(&error).is_some_and(|reason| due.contains(&reason)),
        "{what}: not {due:?}: {error:#?}"
    );
    ensure_eq!("HTTP-7", error.kind(), ErrorKind::Unavailable, "the kind of {what}");
    let bytes = error.http().and_then(|fault| fault.bytes_received);
    ensure_eq!("HTTP-7", bytes, Some(10), "the bytes that {what} tells");
    Ok(())
}

const SHORT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n0123456789";

async fn short_body_fin(world: World) -> CaseResult {
    let lab = world.open().await?;
    for found in short_body(&lab, |script, gate| script.wait(gate).fin(), SHORT).await? {
        judge_short(found, "a body cut by FIN", &[HttpReason::IncompleteBody])?;
    }
    Ok(())
}

async fn short_body_rst(world: World) -> CaseResult {
    let lab = world.open().await?;
    for found in short_body(&lab, |script, gate| script.wait(gate).reset(), SHORT).await? {
        judge_short(found, "a body cut by a reset", &[HttpReason::ConnectionReset])?;
    }
    Ok(())
}

async fn chunked_cut(world: World) -> CaseResult {
    const CHUNKS: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n01234\r\n5\r\n56789\r\n";
    const INSIDE: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n64\r\n0123456789";
    let lab = world.open().await?;
    for (head, what) in [(CHUNKS, "a body without its last chunk"), (INSIDE, "a body cut inside a chunk")] {
        for found in short_body(&lab, |script, gate| script.wait(gate).fin(), head).await? {
            judge_short(found, what, &[HttpReason::IncompleteBody])?;
        }
    }
    Ok(())
}

async fn chunked_broken(world: World) -> CaseResult {
    const HEAD: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let lab = world.open().await?;
    lab.needs(HttpFeature::Wire)?;
    let table = [
        ("a size that is no number", "zz\r\n0123456789\r\n0\r\n\r\n"),
        ("a size beyond 64 bits", "fffffffffffffffff\r\n0123456789"),
        ("a negative size", "-1\r\n0123456789\r\n0\r\n\r\n"),
        ("no line end after a chunk", "5\r\n01234XX5\r\n56789\r\n0\r\n\r\n"),
    ];
    for (what, bytes) in table {
        for script in both(format!("{HEAD}{bytes}")) {
            let error = match exchange(&lab, "HTTP-8", script.fin()).await? {
                Err(error) => error,
                Ok(response) => {
                    let found = read("HTTP-8", response.into_body()).await?;
                    found.error.ok_or_else(|| {
                        failed("HTTP-8", format!("{what} ended as a success of {} bytes", found.data.len()))
                    })?
                }
            };
            judge_protocol(&error, what)?;
        }
    }
    Ok(())
}

fn judge_protocol(error: &Error, what: &str) -> CaseResult {
    ensure_eq!("HTTP-8", reason(error), Some(HttpReason::Protocol), "the reason of {what}: {error:#}");
    ensure_eq!("HTTP-8", error.kind(), ErrorKind::Corrupt, "the kind of {what}: {error:#}");
    Ok(())
}

async fn not_http(world: World) -> CaseResult {
    let lab = world.open().await?;
    lab.needs(HttpFeature::Wire)?;
    let table = [
        ("another protocol", "SSH-2.0-OpenSSH_9.9\r\n\r\n"),
        ("a status that is no number", "HTTP/1.1 abc OK\r\ncontent-length: 0\r\n\r\n"),
        ("a header without a colon", "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n"),
        ("a header name with a space", "HTTP/1.1 200 OK\r\nx y: 1\r\ncontent-length: 0\r\n\r\n"),
    ];
    for (what, bytes) in table {
        for script in both(bytes) {
            let error = refused("HTTP-8", what, exchange(&lab, "HTTP-8", script.fin()).await?)?;
            judge_protocol(&error, what)?;
        }
    }
    Ok(())
}

async fn chunked_trailers(world: World) -> CaseResult {
    const BYTES: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
                         5\r\nhello\r\n0\r\nX-Sum: 7\r\nX-Sum: 8\r\n\r\n";
    let lab = world.open().await?;
    lab.needs(HttpFeature::Wire)?;
    lab.needs(HttpFeature::Trailers)?;
    for script in both(BYTES) {
        let response = accepted("HTTP-9", "the head", exchange(&lab, "HTTP-9", script).await?)?;
        ensure!("HTTP-9", !response.headers.contains_key("x-sum"), "trailers were mixed into the headers");
        let found = read("HTTP-9", response.into_body()).await?;
        ensure_eq!("HTTP-9", found.data, "hello", "the data before the trailers");
        let sums = found
            .trailers
            .map(|map| map.get_all("x-sum").iter().map(|sum| sum.as_bytes().to_vec()).collect::<Vec<_>>());
        ensure_eq!("HTTP-9", sums, Some(vec![b"7".to_vec(), b"8".to_vec()]), "the trailers");
    }
    Ok(())
}

async fn content_length_conflict(world: World) -> CaseResult {
    let lab = world.open().await?;
    lab.needs(HttpFeature::Wire)?;
    for (what, lengths) in [
        ("two lengths", "content-length: 3\r\ncontent-length: 5\r\n"),
        ("a signed length", "content-length: +5\r\n"),
    ] {
        for script in both(format!("HTTP/1.1 200 OK\r\n{lengths}\r\nhello")) {
            let error = refused("HTTP-10", what, exchange(&lab, "HTTP-10", script).await?)?;
            ensure_eq!(
                "HTTP-10",
                reason(&error),
                Some(HttpReason::Protocol),
                "the reason of {what}: {error:#}"
            );
        }
    }
    let both_framings =
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    for script in both(both_framings) {
        let response = accepted("HTTP-10", "a length and chunks", exchange(&lab, "HTTP-10", script).await?)?;
        let body = whole("HTTP-10", response.into_body()).await?;
        ensure_eq!("HTTP-10", body, "hello", "the chunks win over a length");
    }
    Ok(())
}

async fn interim_responses(world: World) -> CaseResult {
    const BYTES: &str = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
                         HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let lab = world.open().await?;
    lab.needs(HttpFeature::Wire)?;
    for script in both(BYTES) {
        let response = accepted("HTTP-11", "the head", exchange(&lab, "HTTP-11", script).await?)?;
        ensure_eq!("HTTP-11", response.status, StatusCode::OK, "the final status");
        ensure!("HTTP-11", !response.headers.contains_key("link"), "headers of an interim response stayed");
        ensure_eq!("HTTP-11", whole("HTTP-11", response.into_body()).await?, "ok", "the body");
    }
    Ok(())
}

async fn early_response(world: World) -> CaseResult {
    let lab = world.open().await?;
    let gate = Gate::new();
    let refusal = Script::early()
        .send("HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig")
        .wait(&gate)
        .stall();
    let (url, log) = lab.script(refusal).await?;
    let upload = post(&url, vec![b'x'; 8 << 20]);
    let answer = within("HTTP-13", "an answer during the upload", lab.transport.exchange(upload)).await?;
    let response = accepted("HTTP-13", "an answer during the upload", answer)?;
    ensure_eq!("HTTP-13", response.status, StatusCode::PAYLOAD_TOO_LARGE, "the status");
    ensure_eq!("HTTP-13", whole("HTTP-13", response.into_body()).await?, "big", "the body of the refusal");
    gate.open();
    drop(lab.transport);
    within("HTTP-24", "the end of a connection whose upload nobody reads", log.until_closed(0)).await
}

async fn head_limits(world: World) -> CaseResult {
    let lab = world.open().await?;
    lab.needs(HttpFeature::Wire)?;
    if let Some(most) = lab.transport.capabilities().limits.response_headers {
        for (count, fits) in [(most, true), (most + 1, false)] {
            // The length is one of the headers.
            let lines: String = (1..count).map(|n| format!("x-{n}: 1\r\n")).collect();
            let script = Script::new().send(format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{lines}\r\n"));
            let answer = exchange(&lab, "HTTP-17", script).await?;
            if fits {
                accepted("HTTP-17", "as many headers as the limit", answer)?;
            } else {
                judge_head(&refused("HTTP-17", "one header more than the limit", answer)?)?;
            }
        }
    }
    let long = format!("HTTP/1.1 200 OK\r\nx-long: {}\r\ncontent-length: 0\r\n\r\n", "a".repeat(1 << 20));
    let answer = exchange(&lab, "HTTP-17", Script::new().send(long).stall()).await?;
    judge_head(&refused("HTTP-17", "a header of 1 MiB", answer)?)?;

    let line = format!("x-more: {}\r\n", "a".repeat(1000));
    let (url, log) = lab.script(Script::new().send("HTTP/1.1 200 OK\r\n").endless(line)).await?;
    let asked = tokio::time::timeout(Duration::from_secs(10), lab.transport.exchange(get(&url))).await;
    let answer = asked.map_err(|_| failed("HTTP-17", "endless headers were read for 10 s".into()))?;
    judge_head(&refused("HTTP-17", "endless headers", answer)?)?;
    within("HTTP-17", "the end of the connection with endless headers", log.until_closed(0)).await?;
    // What the kernel's buffers take counts too: the bound is on the order, not on the byte.
    ensure!(
        "HTTP-17",
        log.bytes_accepted() < 32 << 20,
        "{} bytes of headers were taken",
        log.bytes_accepted()
    );
    Ok(())
}

fn judge_head(error: &Error) -> CaseResult {
    ensure_eq!("HTTP-17", reason(error), Some(HttpReason::HeadTooLarge), "the reason: {error:#}");
    ensure_eq!("HTTP-17", error.kind(), ErrorKind::TooLarge, "the kind: {error:#}");
    Ok(())
}
