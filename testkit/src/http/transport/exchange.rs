//! Cases about one exchange: what is asked arrives, what is answered comes back, nothing is added.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_LENGTH, LOCATION, RETRY_AFTER, TRANSFER_ENCODING};
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body::Frame;
use onex_spi::http::{HttpBody, HttpFeature, HttpReason, HttpResponse};
use onex_spi::{Effect, Error, ErrorKind};
use tokio::sync::{Barrier, mpsc};

use super::{Case, CaseResult, World, case};
use crate::http::handler::{data, handler, streamed};
use crate::http::stage::{accepted, at, failed, get, post, read, reason, refused, request, whole, within};
use crate::net::{Gate, Script};
use crate::{ensure, ensure_eq};

pub(super) fn cases() -> Vec<Case<World>> {
    vec![
        case!("http.round_trip", ["HTTP"], ["ONEX-HTTP-01", "ONEX-HTTP-13"], round_trip),
        case!("http.bytes_only", ["HTTP"], [], bytes_only),
        case!("http.head_and_bodyless", ["HTTP-6"], [], head_and_bodyless),
        case!("http.duplicate_headers", ["HTTP-14"], ["ONEX-HTTP-17"], duplicate_headers),
        case!("http.header_injection", ["HTTP-15"], [], header_injection),
        case!("http.url_injection", ["HTTP-16"], [], url_injection),
        case!("http.empty_post_length", ["HTTP-31"], [], empty_post_length),
        case!("http.streams_both_ways", ["HTTP"], ["ONEX-HTTPX-01"], streams_both_ways),
        case!("http.response_trailers", ["HTTP-9"], [], response_trailers),
        case!("http.failing_request_body", ["HTTP", "HTTP-7"], [], failing_request_body),
        case!("http.failing_response_body", ["HTTP-7"], ["ONEX-HTTPX-10"], failing_response_body),
        case!("http.concurrent_exchanges", ["HTTP"], ["ONEX-GEN-11"], concurrent_exchanges),
    ]
}

fn ok(body: impl Into<HttpBody>) -> onex_spi::Result<HttpResponse> {
    Ok(HttpResponse::new(StatusCode::OK, body))
}

async fn round_trip(world: World) -> CaseResult {
    let lab = world.open().await?;
    let echo = handler(|mut request| async move {
        let mut response = HttpResponse::new(StatusCode::CREATED, HttpBody::EMPTY);
        let target = request.url.uri().path_and_query().map_or("", |target| target.as_str());
        let seen = format!("{} {target}", request.method);
        response
            .headers
            .insert("x-seen", HeaderValue::try_from(seen).map_err(|_| Error::invalid("t", "target"))?);
        if let Some(value) = request.headers.get("x-mine") {
            response.headers.insert("x-mine", value.clone());
        }
        response.body = std::mem::take(&mut request.body).bytes(64 << 20).await?.into();
        Ok(response)
    });
    let url = lab.serve(echo).await?;
    let large = Bytes::from((0..3_u32 << 20).map(|n| (n % 251) as u8).collect::<Vec<_>>());
    let bodies = [Bytes::new(), Bytes::from_static(b"\0\r\n\xff"), large];
    let opaque = HeaderValue::from_bytes(b"caf\xe9 \"x\"").map_err(|error| failed("", error.to_string()))?;
    for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
        for body in &bodies {
            if method == Method::GET && !body.is_empty() {
                continue;
            }
            let mut request = request(method.clone(), &at(&url, "a/b%20c?q=1&q=%26")?);
            request.headers.insert("x-mine", opaque.clone());
            request.body = body.clone().into();
            let answer = within("HTTP", "an exchange", lab.transport.exchange(request)).await?;
            let response = accepted("HTTP", method.as_str(), answer)?;
            ensure_eq!("HTTP", response.status, StatusCode::CREATED, "the status of {method}");
            let seen = response.headers.get("x-seen").and_then(|seen| seen.to_str().ok()).unwrap_or_default();
            ensure_eq!("HTTP", seen, format!("{method} /a/b%20c?q=1&q=%26"), "what the server saw");
            let mine = response.headers.get("x-mine").cloned();
            ensure_eq!("HTTP", mine, Some(opaque.clone()), "a header there and back");
            let came = whole("HTTP", response.into_body()).await?;
            ensure!("HTTP", came == body, "{method}: {} bytes came back of {}", came.len(), body.len());
        }
    }
    Ok(())
}

async fn bytes_only(world: World) -> CaseResult {
    // The caller names Accept, because one engine cannot leave it out; the policy above sets it everywhere.
    const ALLOWED: [&str; 7] =
        ["host", "content-length", "transfer-encoding", "connection", "te", "accept", "x-mine"];
    let lab = world.open().await?;
    let (seen, mut heads) = mpsc::unbounded_channel::<HeaderMap>();
    let service = handler(move |request| {
        // The receiver lives as long as the case.
        let _ = seen.send(request.headers.clone());
        async move {
            let mut response = HttpResponse::new(StatusCode::OK, "not gzip at all");
            match request.url.path() {
                "/moved" => {
                    response.status = StatusCode::FOUND;
                    response.headers.insert(LOCATION, HeaderValue::from_static("/elsewhere"));
                }
                "/busy" => {
                    response.status = StatusCode::SERVICE_UNAVAILABLE;
                    response.headers.insert(RETRY_AFTER, HeaderValue::from_static("0"));
                }
                _ => {
                    response.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                }
            }
            Ok(response)
        }
    });
    let url = lab.serve(service).await?;
    for (path, status) in [("moved", 302), ("busy", 503), ("coded", 200)] {
        let mut request = get(&at(&url, path)?);
        request.headers.insert("x-mine", HeaderValue::from_static("1"));
        request.headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        let response = accepted("HTTP", path, within("HTTP", path, lab.transport.exchange(request)).await?)?;
        ensure_eq!("HTTP", response.status.as_u16(), status, "/{path} is handed out as it came");
        let coded = response.headers.contains_key(CONTENT_ENCODING);
        ensure_eq!("HTTP", coded, path == "coded", "the content coding of /{path}");
        let body = whole("HTTP", response.into_body()).await?;
        ensure_eq!("HTTP", body, "not gzip at all", "the body of /{path} is untouched");
        let headers = heads.try_recv().map_err(|_| failed("HTTP", format!("/{path} never arrived")))?;
        let added: Vec<&str> =
            headers.keys().map(HeaderName::as_str).filter(|name| !ALLOWED.contains(name)).collect();
        ensure!("HTTP", added.is_empty(), "headers beyond those of the framing were added: {added:?}");
        ensure!("HTTP", heads.try_recv().is_err(), "/{path} arrived more than once");
    }
    Ok(())
}

async fn head_and_bodyless(world: World) -> CaseResult {
    let lab = world.open().await?;
    let service = handler(|request| async move {
        let mut response = HttpResponse::new(StatusCode::OK, "0123456789");
        match request.url.path() {
            "/204" => response.status = StatusCode::NO_CONTENT,
            "/304" => response.status = StatusCode::NOT_MODIFIED,
            _ => {}
        }
        Ok(response)
    });
    let url = lab.serve(service).await?;
    for (method, path) in [(Method::HEAD, ""), (Method::GET, "204"), (Method::GET, "304")] {
        let asked = request(method.clone(), &at(&url, path)?);
        let response =
            accepted("HTTP-6", path, within("HTTP-6", path, lab.transport.exchange(asked)).await?)?;
        let found = read("HTTP-6", response.into_body()).await?;
        ensure!(
            "HTTP-6",
            found.data.is_empty() && found.error.is_none(),
            "{method} /{path} has a body: {found:?}"
        );
    }
    if !lab.has(HttpFeature::Wire) {
        return Ok(());
    }
    let (url, log) = lab
        .script(crate::net::Answer::scripted(|exchange| {
            Script::new().send(match exchange.number {
                0 => "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n",
                1 => "HTTP/1.1 204 No Content\r\n\r\n",
                2 => "HTTP/1.1 304 Not Modified\r\ncontent-length: 50\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            })
        }))
        .await?;
    for (number, method) in [Method::HEAD, Method::GET, Method::GET, Method::GET].into_iter().enumerate() {
        let answer =
            within("HTTP-6", "a bodyless exchange", lab.transport.exchange(request(method, &url))).await?;
        let response = accepted("HTTP-6", "a bodyless exchange", answer)?;
        if number == 0 {
            let length = response.headers.get(CONTENT_LENGTH).cloned();
            ensure_eq!(
                "HTTP-6",
                length,
                Some(HeaderValue::from_static("1000")),
                "HEAD keeps the length it was told"
            );
        }
        let body = whole("HTTP-6", response.into_body()).await?;
        ensure_eq!("HTTP-6", body, if number == 3 { "ok" } else { "" }, "the body of exchange {number}");
    }
    ensure_eq!("HTTP-6", log.connections(), 1, "connections of four exchanges");
    Ok(())
}

async fn duplicate_headers(world: World) -> CaseResult {
    let lab = world.open().await?;
    let (seen, mut heads) = mpsc::unbounded_channel::<HeaderMap>();
    let service = handler(move |request| {
        let _ = seen.send(request.headers.clone());
        async {
            let mut response = HttpResponse::new(StatusCode::OK, "");
            for value in ["b=2", "a=1", "b=2"] {
                response.headers.append("set-cookie", HeaderValue::from_static(value));
            }
            Ok(response)
        }
    });
    let url = lab.serve(service).await?;
    let mut request = get(&url);
    for value in ["2", "1", "2"] {
        request.headers.append("x-a", HeaderValue::from_static(value));
    }
    request.headers.insert("x-empty", HeaderValue::from_static(""));
    let answer = within("HTTP-14", "an exchange", lab.transport.exchange(request)).await?;
    let response = accepted("HTTP-14", "an exchange", answer)?;
    let values = |map: &HeaderMap, name: &str| {
        map.get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect::<Vec<_>>()
    };
    ensure_eq!(
        "HTTP-14",
        values(&response.headers, "set-cookie"),
        ["b=2", "a=1", "b=2"],
        "repeats of a response"
    );
    let head = heads.try_recv().map_err(|_| failed("HTTP-14", "the request never arrived".into()))?;
    ensure_eq!("HTTP-14", values(&head, "x-a"), ["2", "1", "2"], "repeats of a request");
    ensure_eq!("HTTP-14", values(&head, "x-empty"), [""], "an empty value");
    Ok(())
}

async fn header_injection(world: World) -> CaseResult {
    let lab = world.open().await?;
    let calls = Arc::new(AtomicU64::new(0));
    let counted = calls.clone();
    let service = handler(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { ok("") }
    });
    let url = lab.serve(service).await?;
    // CR, LF and NUL cannot be held by a `HeaderValue`, a space not by a `HeaderName`: the types refuse them.
    for value in ["a\r\nx: 1", "a\nb", "a\0b"] {
        ensure!("HTTP-15", HeaderValue::try_from(value).is_err(), "{value:?} became a header value");
    }
    let framing: [(&[(HeaderName, &'static str)], &str); 5] = [
        (&[(CONTENT_LENGTH, "5")], "a length that is not the body's"),
        (&[(CONTENT_LENGTH, "3"), (CONTENT_LENGTH, "5")], "two lengths"),
        (&[(CONTENT_LENGTH, "+3")], "a signed length"),
        (&[(TRANSFER_ENCODING, "gzip, chunked")], "a transfer coding that nobody applies"),
        (&[(CONTENT_LENGTH, "3"), (TRANSFER_ENCODING, "chunked")], "a length and chunks"),
    ];
    for (headers, what) in framing {
        let mut request = post(&url, "abc");
        for (name, value) in headers {
            request.headers.append(name, HeaderValue::from_static(value));
        }
        let error =
            refused("HTTP-15", what, within("HTTP-15", what, lab.transport.exchange(request)).await?)?;
        let told = (error.kind(), error.effect(), reason(&error));
        let due = (ErrorKind::InvalidInput, Effect::NotApplied, Some(HttpReason::InvalidHeader));
        ensure_eq!("HTTP-15", told, due, "{what}: {error}");
    }
    ensure_eq!("HTTP-15", calls.load(Ordering::SeqCst), 0, "requests that arrived all the same");
    Ok(())
}

async fn url_injection(world: World) -> CaseResult {
    let lab = world.open().await?;
    let service = handler(|request| async move {
        let target = request.url.uri().path_and_query().map_or("", |target| target.as_str()).to_owned();
        ok(target)
    });
    let url = lab.serve(service).await?;
    for target in ["/a%0d%0aX:%201?b=%0D%0A", "/%2e%2e/%2F/%00", "/a//b/;p?a=b?c&d=%25%32%30", "/?"] {
        let asked = onex_spi::http::HttpUrl::from_uri(
            format!("http://{}{target}", url.uri().authority().map_or("", |authority| authority.as_str()))
                .parse()
                .map_err(|error| failed("", format!("{target}: {error}")))?,
        )?;
        let answer = within("HTTP-16", target, lab.transport.exchange(get(&asked))).await?;
        let rewritten = asked.url()?.path() != asked.path();
        if rewritten && !lab.transport.capabilities().features.has(HttpFeature::ExactTarget) {
            let reason = answer.err().and_then(|error| error.http().map(|fault| fault.reason));
            ensure_eq!(
                "HTTP-16",
                reason,
                Some(HttpReason::InvalidUrl),
                "{target}, which the URL standard rewrites"
            );
            continue;
        }
        let response = accepted("HTTP-16", target, answer)?;
        ensure_eq!(
            "HTTP-16",
            whole("HTTP-16", response.into_body()).await?,
            target,
            "the target as it was written"
        );
    }
    Ok(())
}

async fn empty_post_length(world: World) -> CaseResult {
    let lab = world.open().await?;
    let (seen, mut heads) = mpsc::unbounded_channel::<HeaderMap>();
    let service = handler(move |request| {
        let _ = seen.send(request.headers.clone());
        async { ok("") }
    });
    let url = lab.serve(service).await?;
    let zero = Some(HeaderValue::from_static("0"));
    for method in [Method::POST, Method::PUT, Method::PATCH] {
        let answer =
            within("HTTP-31", "an exchange", lab.transport.exchange(request(method.clone(), &url))).await?;
        accepted("HTTP-31", method.as_str(), answer)?;
        let head = heads.try_recv().map_err(|_| failed("HTTP-31", format!("{method} never arrived")))?;
        ensure_eq!("HTTP-31", head.get(CONTENT_LENGTH).cloned(), zero, "the length of a bodyless {method}");
        ensure!("HTTP-31", !head.contains_key(TRANSFER_ENCODING), "a bodyless {method} is chunked");
    }
    for method in [Method::GET, Method::HEAD] {
        let answer =
            within("HTTP-31", "an exchange", lab.transport.exchange(request(method.clone(), &url))).await?;
        accepted("HTTP-31", method.as_str(), answer)?;
        let head = heads.try_recv().map_err(|_| failed("HTTP-31", format!("{method} never arrived")))?;
        ensure_eq!("HTTP-31", head.get(CONTENT_LENGTH), None, "the length of a {method}");
        ensure!("HTTP-31", !head.contains_key(TRANSFER_ENCODING), "a {method} is chunked");
    }
    Ok(())
}

async fn streams_both_ways(world: World) -> CaseResult {
    let lab = world.open().await?;
    let (go, more) = (Gate::new(), Gate::new());
    let (asked, answering) = (go.clone(), more.clone());
    let service = handler(move |mut request| {
        let (asked, answering) = (asked.clone(), answering.clone());
        async move {
            let first = request.body.frame().await.transpose()?.and_then(|frame| frame.into_data().ok());
            asked.open();
            let rest = std::mem::take(&mut request.body).bytes(1 << 20).await?;
            let came = [&first.unwrap_or_default()[..], &rest[..]].concat();
            let tail = stream::once(async move {
                answering.wait().await;
                Ok(Frame::data(Bytes::from(came)))
            });
            ok(streamed(stream::iter([data("head ")]).chain(tail)))
        }
    });
    let url = lab.serve(service).await?;
    let gate = go.clone();
    let late = stream::once(async move {
        gate.wait().await;
        data("late")
    });
    // The second part of the request is made only after the server has the first one.
    let asked = post(&url, streamed(stream::iter([data("early ")]).chain(late)));
    let answer =
        within("HTTP", "a request that arrives while it is made", lab.transport.exchange(asked)).await?;
    let mut body = accepted("HTTP", "a streamed exchange", answer)?.into_body();
    // The second part of the response is made only after the client has the first one.
    let first = within("HTTP", "the first part of a body whose end is not made yet", body.frame()).await?;
    let first = accepted("HTTP", "a frame", first.transpose())?.and_then(|frame| frame.into_data().ok());
    ensure_eq!("HTTP", first.as_deref(), Some(b"head ".as_slice()), "the first frame");
    more.open();
    ensure_eq!("HTTP", whole("HTTP", body).await?, "early late", "the rest");
    Ok(())
}

async fn response_trailers(world: World) -> CaseResult {
    let lab = world.open().await?;
    lab.needs(HttpFeature::Trailers)?;
    let service = handler(|_| async {
        let mut sum = HeaderMap::new();
        sum.append("x-sum", HeaderValue::from_static("7"));
        sum.append("x-sum", HeaderValue::from_static("8"));
        let mut response = HttpResponse::new(StatusCode::OK, HttpBody::EMPTY);
        response.headers.insert("trailer", HeaderValue::from_static("x-sum"));
        response.body = streamed(stream::iter([data("body"), Ok(Frame::trailers(sum))]));
        Ok(response)
    });
    let url = lab.serve(service).await?;
    let mut request = get(&url);
    request.headers.insert("te", HeaderValue::from_static("trailers"));
    let answer = within("HTTP-9", "an exchange", lab.transport.exchange(request)).await?;
    let response = accepted("HTTP-9", "an exchange", answer)?;
    ensure!("HTTP-9", !response.headers.contains_key("x-sum"), "trailers were mixed into the headers");
    let found = read("HTTP-9", response.into_body()).await?;
    ensure_eq!("HTTP-9", found.data, "body", "the data before the trailers");
    let sums = found.trailers.map(|map| map.get_all("x-sum").iter().cloned().collect::<Vec<_>>());
    let due = vec![HeaderValue::from_static("7"), HeaderValue::from_static("8")];
    ensure_eq!("HTTP-9", sums, Some(due), "the trailers");
    Ok(())
}

async fn failing_request_body(world: World) -> CaseResult {
    let lab = world.open().await?;
    let whole_at_server = Arc::new(AtomicU64::new(0));
    let counted = whole_at_server.clone();
    let service = handler(move |mut request| {
        let counted = counted.clone();
        async move {
            std::mem::take(&mut request.body).bytes(1 << 20).await?;
            counted.fetch_add(1, Ordering::SeqCst);
            ok("")
        }
    });
    let url = lab.serve(service).await?;
    let spoilt = || Err(Error::new(ErrorKind::Corrupt, "case.body", "the file could not be read"));
    let body = streamed(stream::iter([data("first"), spoilt()]));
    let what = "a request whose body fails";
    let error = refused("HTTP", what, within("HTTP", what, lab.transport.exchange(post(&url, body))).await?)?;
    ensure_eq!("HTTP", error.kind(), ErrorKind::Corrupt, "the kind is the body's own: {error:#}");
    ensure_eq!(
        "HTTP-7",
        whole_at_server.load(Ordering::SeqCst),
        0,
        "shorter bodies that the server took for whole"
    );
    // The engine is usable afterwards.
    accepted(
        "HTTP",
        "the next call",
        within("HTTP", "the next call", lab.transport.exchange(post(&url, "x"))).await?,
    )?;
    Ok(())
}

async fn failing_response_body(world: World) -> CaseResult {
    let lab = world.open().await?;
    let go = Gate::new();
    let held = go.clone();
    let service = handler(move |_| {
        let held = held.clone();
        async move {
            let spoilt = stream::once(async move {
                held.wait().await;
                Err(Error::new(ErrorKind::Unavailable, "case.body", "the disk is gone"))
            });
            ok(streamed(stream::iter([data("first")]).chain(spoilt)))
        }
    });
    let url = lab.serve(service).await?;
    let answer = within("HTTP-7", "the head", lab.transport.exchange(get(&url))).await?;
    let mut body = accepted("HTTP-7", "the head", answer)?.into_body();
    let found = crate::http::stage::read_and_open("HTTP-7", &mut body, Some((5, &go))).await?;
    ensure_eq!("HTTP-7", found.data, "first", "what came before the failure");
    ensure!("HTTP-7", found.error.is_some(), "a body that failed at the server ended as a shorter success");
    Ok(())
}

async fn concurrent_exchanges(world: World) -> CaseResult {
    let lab = world.open().await?;
    let most = lab.transport.capabilities().limits.connections_per_origin.unwrap_or(8).min(8);
    let barrier = Arc::new(Barrier::new(most));
    let service = handler(move |mut request| {
        let barrier = barrier.clone();
        async move {
            // Passes only if all are in flight at once.
            barrier.wait().await;
            ok(std::mem::take(&mut request.body))
        }
    });
    let url = lab.serve(service).await?;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..most {
        let (transport, asked) = (lab.transport.clone(), post(&url, number.to_string()));
        calls.spawn(async move {
            let response = transport.exchange(asked).await?;
            Ok::<_, Error>((number, response.into_body().bytes(64).await?))
        });
    }
    while let Some(joined) = within("HTTP", "exchanges at the same time", calls.join_next()).await? {
        let (number, body) =
            accepted("HTTP", "one of many", joined.map_err(|error| failed("", error.to_string()))?)?;
        ensure_eq!("HTTP", body, number.to_string(), "each call gets its own answer");
    }
    Ok(())
}
