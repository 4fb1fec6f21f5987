//! Cases about one exchange: what the handler sees, what comes back.

use std::net::SocketAddr;
use std::sync::Arc;

use ::http::{HeaderMap, HeaderValue, Method, StatusCode};
use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use onex_spi::http::{HttpBody, HttpFeature, HttpPeer, HttpRequest, HttpResponse, HttpUrl};
use onex_spi::{Error, ErrorKind, Health};
use tokio::sync::{Barrier, mpsc};

use super::{Asked, Lab, World, came, case};
use crate::http::handler::{data, handler, streamed};
use crate::http::stage::{accepted, answer, broken, failed, numbered, read, within};
use crate::net::RawConnection;
use crate::suite::{Case, CaseResult, Stop, needs};
use crate::{ensure, ensure_eq};

pub(super) fn cases() -> Vec<Case<World>> {
    vec![
        case!("http_server.round_trip", ["HTTP"], [], round_trip),
        case!("http_server.duplicate_headers", ["HTTP-14"], [], duplicate_headers),
        case!("http_server.head_and_bodyless", ["HTTP-6"], [], head_and_bodyless),
        case!("http_server.trailers", ["HTTP-9", "HTTP"], [], trailers),
        case!("http_server.handler_error_is_500", ["HTTP"], [], handler_error_is_500),
        case!("http_server.concurrent_exchanges", ["HTTP"], [], concurrent_exchanges),
        case!("http_server.two_at_once", ["HTTP"], [], two_at_once),
        case!("http_server.address_in_use", ["HTTP"], [], address_in_use),
    ]
}

async fn round_trip(world: World) -> CaseResult {
    let lab = world.open().await?;
    let (seen, mut requests) = mpsc::unbounded_channel();
    let echo = handler(move |mut request| {
        let seen = seen.clone();
        async move {
            let peer = request.extensions.get::<HttpPeer>().map(|peer| peer.remote.ip());
            let target = request.url.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
            let url = format!("{}://{}:{}", request.url.scheme(), request.url.host(), request.url.port());
            // The receiver lives as long as the case.
            let _ = seen.send((request.method.clone(), url, target, request.headers.clone(), peer));
            let mut response = HttpResponse::new(StatusCode::CREATED, HttpBody::EMPTY);
            response.headers.insert("x-answer", HeaderValue::from_static("yes"));
            response.body = std::mem::take(&mut request.body).bytes(64 << 20).await?.into();
            Ok(response)
        }
    });
    let serving = lab.serve(echo).await?;
    let address = serving.local_addr();
    ensure!(
        "HTTP",
        address.port() != 0 && address.ip().is_loopback(),
        "the address that was found: {address}"
    );
    let large = Bytes::from((0..2_u32 << 20).map(|n| (n % 251) as u8).collect::<Vec<_>>());
    let table = [
        (Method::GET, Bytes::new()),
        (Method::POST, Bytes::from_static(b"\0\r\n\xff")),
        (Method::PUT, large),
    ];
    for (method, body) in table {
        let asked = Asked::new(method.clone(), "/a/b%20c?q=1&q=%26")
            .with_header("x-mine", "one")
            .with_body(body.clone());
        let answered =
            came("HTTP", "an exchange", within("HTTP", "an exchange", lab.ask(address, asked)).await?)?;
        ensure_eq!("HTTP", answered.status, StatusCode::CREATED, "the status");
        ensure_eq!(
            "HTTP",
            answered.headers.get("x-answer").map(HeaderValue::as_bytes),
            Some(b"yes".as_slice()),
            "a header"
        );
        ensure!("HTTP", answered.body == body, "{} bytes came back of {}", answered.body.len(), body.len());
        let (came, url, target, headers, peer) =
            requests.try_recv().map_err(|_| failed("HTTP", "the request never arrived".into()))?;
        ensure_eq!("HTTP", (came, target.as_str()), (method, "/a/b%20c?q=1&q=%26"), "method and target");
        ensure_eq!(
            "HTTP",
            url,
            format!("http://{}:{}", address.ip(), address.port()),
            "scheme, host and port"
        );
        ensure_eq!(
            "HTTP",
            headers.get("x-mine").map(HeaderValue::as_bytes),
            Some(b"one".as_slice()),
            "a header"
        );
        ensure!("HTTP", peer.is_some_and(|ip| ip.is_loopback()), "the peer: {peer:?}");
    }
    ensure_eq!("HTTP", serving.health().await, Health::Healthy, "the health of what is served");
    ensure_eq!("HTTP", lab.server.health().await, Health::Healthy, "the health of the server");
    Ok(())
}

async fn duplicate_headers(world: World) -> CaseResult {
    let lab = world.open().await?;
    let (seen, mut heads) = mpsc::unbounded_channel::<HeaderMap>();
    let service = handler(move |request| {
        let _ = seen.send(request.headers.clone());
        async {
            let mut response = answer(200, "");
            for value in ["b=2", "a=1", "b=2"] {
                response.headers.append("set-cookie", HeaderValue::from_static(value));
            }
            Ok(response)
        }
    });
    let serving = lab.serve(service).await?;
    let asked = Asked::get("/").with_header("x-a", "2").with_header("x-a", "1").with_header("x-a", "2");
    let answered = within("HTTP-14", "an exchange", lab.ask(serving.local_addr(), asked)).await?;
    let answered = came("HTTP-14", "an exchange", answered)?;
    let values = |map: &HeaderMap, name: &str| {
        map.get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect::<Vec<_>>()
    };
    ensure_eq!(
        "HTTP-14",
        values(&answered.headers, "set-cookie"),
        ["b=2", "a=1", "b=2"],
        "repeats of a response"
    );
    let head = heads.try_recv().map_err(|_| failed("HTTP-14", "the request never arrived".into()))?;
    ensure_eq!("HTTP-14", values(&head, "x-a"), ["2", "1", "2"], "repeats of a request");
    Ok(())
}

async fn head_and_bodyless(world: World) -> CaseResult {
    let lab = world.open().await?;
    let (service, _) = numbered(|_, request| match request.url.path() {
        "/204" => answer(204, "no body goes with this"),
        "/304" => answer(304, "no body goes with this"),
        _ => answer(200, "0123456789"),
    });
    let serving = lab.serve(service).await?;
    for (method, target, status) in
        [(Method::HEAD, "/", 200), (Method::GET, "/204", 204), (Method::GET, "/304", 304)]
    {
        let asked = lab.ask(serving.local_addr(), Asked::new(method.clone(), target));
        let answered = came("HTTP-6", target, within("HTTP-6", target, asked).await?)?;
        ensure_eq!("HTTP-6", answered.status.as_u16(), status, "the status of {method} {target}");
        ensure_eq!("HTTP-6", answered.body, "", "the body of {method} {target}");
    }
    Ok(())
}

async fn trailers(world: World) -> CaseResult {
    let lab = world.open().await?;
    let (seen, mut requests) = mpsc::unbounded_channel();
    let service = handler(move |mut request| {
        let seen = seen.clone();
        async move {
            let (mut data, mut trailers) = (Vec::new(), None);
            while let Some(frame) = request.body.frame().await.transpose()? {
                match frame.into_data() {
                    Ok(bytes) => data.extend_from_slice(&bytes),
                    Err(frame) => trailers = frame.into_trailers().ok(),
                }
            }
            // The receiver lives as long as the case.
            let _ = seen.send((request.headers.clone(), data, trailers));
            let mut response = HttpResponse::new(StatusCode::OK, summed("answer", ["3", "4"]));
            response.headers.insert("trailer", HeaderValue::from_static("x-sum"));
            Ok(response)
        }
    });
    let serving = lab.serve(service).await?;
    let answered = exchange_with_trailers(&lab, serving.local_addr()).await?;
    let sums =
        |map: Option<HeaderMap>| map.map(|map| map.get_all("x-sum").iter().cloned().collect::<Vec<_>>());
    let due = |values: [&'static str; 2]| Some(values.map(HeaderValue::from_static).to_vec());

    let (head, data, found) =
        requests.try_recv().map_err(|_| failed("HTTP-9", "the request never arrived".into()))?;
    ensure!("HTTP-9", !head.contains_key("x-sum"), "a request's trailers were mixed into its headers");
    ensure_eq!("HTTP", data, b"question", "a request's data before the trailers");
    ensure_eq!("HTTP-9", sums(found), due(["1", "2"]), "a request's trailers");
    let (head, data, found) = answered;
    ensure!("HTTP-9", !head.contains_key("x-sum"), "a response's trailers were mixed into its headers");
    ensure_eq!("HTTP", data, "answer", "a response's data before the trailers");
    ensure_eq!("HTTP-9", sums(found), due(["3", "4"]), "a response's trailers");
    Ok(())
}

/// A streamed body with two `x-sum` behind its data.
fn summed(text: &'static str, sums: [&'static str; 2]) -> HttpBody {
    let mut trailers = HeaderMap::new();
    for sum in sums {
        trailers.append("x-sum", HeaderValue::from_static(sum));
    }
    streamed(stream::iter([data(text), Ok(Frame::trailers(trailers))]))
}

type Parts = (HeaderMap, Bytes, Option<HeaderMap>);

/// Asks with trailers, and for trailers.
async fn exchange_with_trailers(lab: &Lab, address: SocketAddr) -> Result<Parts, Stop> {
    let Some(transport) = &lab.reaches else {
        let mut raw =
            RawConnection::open(address).await.map_err(|error| broken("the server refuses", error))?;
        let request = "POST / HTTP/1.1\r\nhost: h\r\nte: trailers\r\nconnection: te\r\ntrailer: x-sum\r\n\
            transfer-encoding: chunked\r\n\r\n8\r\nquestion\r\n0\r\nx-sum: 1\r\nx-sum: 2\r\n\r\n";
        raw.send(request)
            .await
            .map_err(|error| failed("HTTP-9", format!("the server took no bytes: {error}")))?;
        let response = within("HTTP-9", "a response with trailers", raw.response("POST")).await?;
        let response = response.map_err(|error| failed("HTTP-9", format!("no whole response: {error}")))?;
        return Ok((response.headers, response.body, response.trailers));
    };
    needs(transport.capabilities().features, HttpFeature::Trailers)?;
    let mut request = HttpRequest::new(Method::POST, HttpUrl::try_from(format!("http://{address}/"))?);
    request.headers.insert("te", HeaderValue::from_static("trailers"));
    request.headers.insert("trailer", HeaderValue::from_static("x-sum"));
    request.body = summed("question", ["1", "2"]);
    let exchanged = within("HTTP-9", "an exchange with trailers", transport.exchange(request)).await?;
    let response = accepted("HTTP-9", "an exchange with trailers", exchanged)?.into_parts();
    let found = read("HTTP-9", response.body).await?;
    match found.error {
        Some(error) => Err(failed("HTTP-9", format!("the body failed: {error:#}"))),
        None => Ok((response.headers, found.data, found.trailers)),
    }
}

async fn handler_error_is_500(world: World) -> CaseResult {
    let lab = world.open().await?;
    let service = handler(|request| async move {
        match request.url.path() {
            "/good" => Ok(answer(200, "ok")),
            _ => Err(Error::new(ErrorKind::NotFound, "case.handler", "the secret path /etc/shadow")),
        }
    });
    let serving = lab.serve(service).await?;
    let asked = lab.ask(serving.local_addr(), Asked::get("/bad"));
    let answered = came("HTTP", "a failing handler", within("HTTP", "a failing handler", asked).await?)?;
    ensure_eq!("HTTP", answered.status, StatusCode::INTERNAL_SERVER_ERROR, "the status of a failing handler");
    ensure_eq!("HTTP", answered.body, "", "an error is traced, not sent");
    let shown = format!("{:?}", answered.headers);
    ensure!("HTTP", !shown.contains("shadow"), "the headers tell the error: {shown}");
    let asked = lab.ask(serving.local_addr(), Asked::get("/good"));
    let answered = came("HTTP", "the next exchange", within("HTTP", "the next exchange", asked).await?)?;
    ensure_eq!("HTTP", answered.body, "ok", "the next exchange");
    Ok(())
}

async fn concurrent_exchanges(world: World) -> CaseResult {
    let lab = world.open().await?;
    let barrier = Arc::new(Barrier::new(8));
    let service = handler(move |_| {
        let barrier = barrier.clone();
        async move {
            // Passes only if all are in flight at once.
            barrier.wait().await;
            Ok(answer(200, "ok"))
        }
    });
    let serving = lab.serve(service).await?;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..8 {
        calls.spawn(lab.ask(serving.local_addr(), Asked::get("/")));
    }
    while let Some(joined) = within("HTTP", "exchanges at the same time", calls.join_next()).await? {
        let answered = joined.map_err(|error| failed("", error.to_string()))?;
        ensure_eq!("HTTP", came("HTTP", "one of many", answered)?.body, "ok", "one of many");
    }
    Ok(())
}

async fn two_at_once(world: World) -> CaseResult {
    let lab = world.open().await?;
    let one = lab.serve(handler(|_| async { Ok(answer(200, "one")) })).await?;
    let two = lab.serve(handler(|_| async { Ok(answer(200, "two")) })).await?;
    ensure!("HTTP", one.local_addr() != two.local_addr(), "two services at {}", one.local_addr());
    for (serving, due) in [(&one, "one"), (&two, "two")] {
        let asked = lab.ask(serving.local_addr(), Asked::get("/"));
        let answered = came("HTTP", due, within("HTTP", due, asked).await?)?;
        ensure_eq!("HTTP", answered.body, due, "who answers at {}", serving.local_addr());
    }
    drop(one);
    let asked = lab.ask(two.local_addr(), Asked::get("/"));
    let answered = came("HTTP", "the other one", within("HTTP", "the other one", asked).await?)?;
    ensure_eq!("HTTP", answered.body, "two", "the other one lives on");
    Ok(())
}

async fn address_in_use(world: World) -> CaseResult {
    let lab = world.open().await?;
    let (service, _) = numbered(|_, _| answer(200, ""));
    let serving = lab.serve(service.clone()).await?;
    let again = within("HTTP", "serve", lab.server.serve(serving.local_addr(), service.clone())).await?;
    let error = match again {
        Err(error) => error,
        Ok(_) => return Err(failed("HTTP", "two services at one address".into())),
    };
    ensure_eq!("HTTP", error.kind(), ErrorKind::Unavailable, "an address that is taken: {error:#}");
    let address = serving.local_addr();
    ensure!("HTTP", error.to_string().contains(&address.to_string()), "the address is not named: {error}");
    // The service that was there first still answers.
    came("HTTP", "the first", within("HTTP", "the first", lab.ask(address, Asked::get("/"))).await?)?;
    Ok(())
}
