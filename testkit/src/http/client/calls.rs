//! Cases about what callers write: verbs, URLs, headers, bodies, interceptors.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::http::header::{AUTHORIZATION, CONTENT_TYPE};
use ::http::{HeaderMap, Method, StatusCode};
use async_trait::async_trait;
use onex_spi::http::{
    HttpBody, HttpClientExt, HttpInterceptor, HttpNext, HttpReason, HttpRequest, HttpResponse, RetryPolicy,
};
use onex_spi::{Effect, Error, ErrorKind, Result};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Case, CaseResult, World, case};
use crate::http::handler::handler;
use crate::http::stage::{
    accepted, answer, at, failed, get, numbered, reason, refused, request, whole, within,
};
use crate::{ensure, ensure_eq};

pub(super) fn cases() -> Vec<Case<World>> {
    vec![
        case!(
            "http_client.verbs",
            ["HTTP"],
            [
                "ONEX-HTTP-01",
                "ONEX-HTTP-08",
                "ONEX-HTTP-09",
                "ONEX-HTTP-10",
                "ONEX-HTTP-11",
                "ONEX-HTTP-12",
                "ONEX-HTTP-13"
            ],
            verbs
        ),
        case!(
            "http_client.query_and_headers",
            ["HTTP", "HTTP-14"],
            ["ONEX-HTTP-17", "ONEX-HTTP-18"],
            query_and_headers
        ),
        case!("http_client.header_injection", ["HTTP-15"], ["ONEX-HTTP-07"], header_injection),
        case!("http_client.url_injection", ["HTTP-16"], [], url_injection),
        case!("http_client.json", ["HTTP"], ["ONEX-GEN-06", "ONEX-HTTP-20"], json_bodies),
        case!("http_client.status_is_no_error", ["HTTP"], ["ONEX-HTTP-20"], status_is_no_error),
        case!("http_client.interceptors", ["HTTP"], ["ONEX-HTTP-03"], interceptors),
    ]
}

async fn verbs(world: World) -> CaseResult {
    let lab = world.open().await?;
    let echo = handler(|mut request| async move {
        let method = request.method.clone();
        let kind = request.headers.get(CONTENT_TYPE).cloned();
        let body = std::mem::take(&mut request.body).bytes(1 << 20).await?;
        let mut response = HttpResponse::new(StatusCode::OK, body);
        let seen = format!("{method} {}", request.url.path());
        response.headers.insert("x-seen", seen.parse().map_err(|_| Error::invalid("case", "no header"))?);
        if let Some(kind) = kind {
            response.headers.insert(CONTENT_TYPE, kind);
        }
        Ok(response)
    });
    let url = lab.serve(echo).await?;
    let here = at(&url, "orders/7")?;
    let client = &*lab.client;
    let purge = Method::from_bytes(b"PURGE").map_err(|error| failed("", error.to_string()))?;
    let mut by_hand = request(purge, &here);
    by_hand.body = "by hand".into();
    let payload = json!({ "id": 7 });
    let text = r#"{"id":7}"#;
    let form = "a=1+2&b=%26";
    let calls: [(&str, Result<HttpResponse>, &str, Option<&str>); 10] = [
        ("GET", client.get(&here).send().await, "", None),
        ("POST", client.post(&here).json(&payload).send().await, text, Some("application/json")),
        (
            "POST",
            client.post(&here).form(&[("a", "1 2"), ("b", "&")]).send().await,
            form,
            Some("application/x-www-form-urlencoded"),
        ),
        ("PUT", client.put(&here).body("put").send().await, "put", None),
        ("PATCH", client.patch(&here).json(&payload).send().await, text, Some("application/json")),
        ("DELETE", client.delete(&here).send().await, "", None),
        ("DELETE", client.delete(&here).body("why").send().await, "why", None),
        ("HEAD", client.head(&here).send().await, "", None),
        ("OPTIONS", client.options(&here).send().await, "", None),
        ("PURGE", client.request(by_hand).await, "by hand", None),
    ];
    for (verb, result, body, kind) in calls {
        let response = accepted("HTTP", verb, result)?;
        let header =
            |name: &str| response.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        ensure_eq!("HTTP", header("x-seen"), Some(format!("{verb} /orders/7")), "what the server saw");
        ensure_eq!("HTTP", header("content-type"), kind.map(str::to_owned), "the content type of {verb}");
        ensure_eq!("HTTP", whole("HTTP", response.into_body()).await?, body, "the body of {verb}");
    }
    Ok(())
}

async fn query_and_headers(world: World) -> CaseResult {
    let lab = world.open().await?;
    let (seen, mut requests) = mpsc::unbounded_channel::<(String, HeaderMap)>();
    let service = handler(move |request| {
        // The receiver lives as long as the case.
        let _ =
            seen.send((request.url.uri().query().unwrap_or_default().to_owned(), request.headers.clone()));
        async {
            let mut response = answer(200, "");
            for value in ["b=2", "a=1", "b=2"] {
                response
                    .headers
                    .append("set-cookie", value.parse().map_err(|_| Error::invalid("case", "value"))?);
            }
            Ok(response)
        }
    });
    let url = lab.serve(service).await?;
    let token = secrecy_of("s3cret");
    let call = lab
        .client
        .get(&at(&url, "?kept=1")?)
        .query("page", 2)
        .query("name", "a b&c=d/\u{e9}")
        .query("name", "again")
        .header("x-a", "2")
        .header("x-a", "1")
        .header("x-a", "2")
        .bearer(&token)
        .send();
    let response = accepted("HTTP", "a call", within("HTTP", "a call", call).await?)?;
    let (query, headers) =
        requests.try_recv().map_err(|_| failed("HTTP", "the request never arrived".into()))?;
    ensure_eq!("HTTP", query, "kept=1&page=2&name=a+b%26c%3Dd%2F%C3%A9&name=again", "the query");
    let values = |map: &HeaderMap, name: &str| {
        map.get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect::<Vec<_>>()
    };
    ensure_eq!("HTTP-14", values(&headers, "x-a"), ["2", "1", "2"], "repeats of a request");
    ensure_eq!(
        "HTTP-14",
        values(&response.headers, "set-cookie"),
        ["b=2", "a=1", "b=2"],
        "repeats of a response"
    );
    ensure_eq!("HTTP", values(&headers, AUTHORIZATION.as_str()), ["Bearer s3cret"], "the bearer token");
    Ok(())
}

fn secrecy_of(text: &str) -> secrecy::SecretString {
    text.into()
}

async fn header_injection(world: World) -> CaseResult {
    let lab = world.open().await?;
    let (service, count) = numbered(|_, _| answer(200, ""));
    let url = lab.serve(service).await?;
    let table = [
        ("x-a", "1\r\nx-b: 2"),
        ("x-a", "1\nx-b: 2"),
        ("x-a", "1\r"),
        ("x-a", "a\0b"),
        ("x a", "1"),
        ("", "1"),
        ("x-a:", "1"),
        ("x-a\r\nx-b", "1"),
    ];
    for (name, value) in table {
        let what = format!("the header {name:?}: {value:?}");
        let call = lab.client.get(&url).header(name, value).send();
        let error = refused("HTTP-15", &what, within("HTTP-15", &what, call).await?)?;
        let told = (error.kind(), error.effect(), reason(&error));
        let due = (ErrorKind::InvalidInput, Effect::NotApplied, Some(HttpReason::InvalidHeader));
        ensure_eq!("HTTP-15", told, due, "{what}: {error}");
    }
    let mut framing = request(Method::POST, &url);
    framing.body = "abc".into();
    framing.headers.insert("content-length", "5".parse().map_err(|_| failed("", "a value".into()))?);
    let answer = within("HTTP-15", "a wrong length", lab.client.request(framing)).await?;
    let error = refused("HTTP-15", "a length that is not the body's", answer)?;
    ensure_eq!("HTTP-15", error.kind(), ErrorKind::InvalidInput, "a wrong length: {error:#}");
    ensure_eq!("HTTP-15", count.get(), 0, "requests that arrived all the same");
    Ok(())
}

async fn url_injection(world: World) -> CaseResult {
    let lab = world.open().await?;
    let (service, count) = numbered(|_, _| answer(200, ""));
    let url = lab.serve(service).await?;
    let base = url.to_string();
    let bad = [
        format!("{base}a b"),
        format!("{base}a\r\nX-Injected: 1"),
        format!("{base}\ta"),
        format!("\n{base}"),
        format!("{base}?q=a\nb"),
        "/relative".to_owned(),
        "ftp://example.com/".to_owned(),
        "http://".to_owned(),
        String::new(),
    ];
    for text in bad {
        let what = format!("the URL {text:?}");
        let error =
            refused("HTTP-16", &what, within("HTTP-16", &what, lab.client.get(text.as_str()).send()).await?)?;
        let told = (error.kind(), error.effect(), reason(&error));
        let due = (ErrorKind::InvalidInput, Effect::NotApplied, Some(HttpReason::InvalidUrl));
        ensure_eq!("HTTP-16", told, due, "{what}: {error}");
    }
    ensure_eq!("HTTP-16", count.get(), 0, "requests that arrived all the same");
    // What is encoded travels as it is written.
    let echo = handler(|request| async move {
        let target = request.url.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        Ok(HttpResponse::new(StatusCode::OK, target))
    });
    let echo = lab.serve(echo).await?;
    for target in ["/a%0d%0aX:%201?b=%0D%0A", "/a%20b%09?c=%25%32%30"] {
        let asked = at(&echo, target)?;
        let answered = within("HTTP-16", target, lab.client.get(&asked).send()).await?;
        let body = whole("HTTP-16", accepted("HTTP-16", target, answered)?.into_body()).await?;
        ensure_eq!("HTTP-16", body, target, "the target as it was written");
    }
    Ok(())
}

async fn json_bodies(world: World) -> CaseResult {
    let lab = world.open().await?;
    let (service, _) = numbered(|_, request| match request.url.path() {
        "/good" => HttpResponse::json_value(
            StatusCode::INTERNAL_SERVER_ERROR,
            json!({ "items": [1, null, "\u{e9}"] }),
        ),
        "/empty" => answer(200, ""),
        "/html" => answer(200, "<html>"),
        _ => answer(200, "{\"items\": [1, 2"),
    });
    let url = lab.serve(service).await?;
    let read = |path: &'static str| {
        let target = at(&url, path);
        let client = lab.client.clone();
        async move { within("HTTP", path, client.get(&target?).send_json::<Value>()).await }
    };
    let good = accepted("HTTP", "JSON", read("good").await?)?;
    ensure_eq!("HTTP", good, json!({ "items": [1, null, "\u{e9}"] }), "a JSON body, whatever the status");
    for (path, due) in
        [("empty", HttpReason::EmptyBody), ("html", HttpReason::Decode), ("cut", HttpReason::Decode)]
    {
        let error = refused("HTTP", path, read(path).await?)?;
        let told = (error.kind(), reason(&error));
        ensure_eq!("HTTP", told, (ErrorKind::Corrupt, Some(due)), "{path} read as JSON: {error:#}");
    }
    Ok(())
}

async fn status_is_no_error(world: World) -> CaseResult {
    let lab = world.open().await?;
    let (service, _) = numbered(|number, _| answer([200, 301, 404, 429, 500, 599][number % 6], "text"));
    let url = lab.serve(service).await?;
    for status in [200, 301, 404, 429, 500, 599] {
        let call = within("HTTP", "a call", lab.client.request(get(&url))).await?;
        let response = accepted("HTTP", "a status", call)?;
        ensure_eq!("HTTP", response.status.as_u16(), status, "the status");
        ensure_eq!("HTTP", whole("HTTP", response.into_body()).await?, "text", "the body of {status}");
    }
    Ok(())
}

/// Notes when a request passes inwards and its result outwards.
#[derive(Debug)]
struct Noting {
    name: &'static str,
    notes: Arc<Mutex<Vec<String>>>,
}

impl Noting {
    fn note(&self, what: &str) {
        let note = format!("{}{what}", self.name);
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(note);
    }
}

#[async_trait]
impl HttpInterceptor for Noting {
    async fn intercept(&self, mut request: HttpRequest, next: HttpNext<'_>) -> Result<HttpResponse> {
        self.note(">");
        request.headers.append("x-passed", self.name.parse().map_err(|_| Error::invalid("case", "name"))?);
        if self.name == "a" && request.url.path() == "/own" {
            return Ok(answer(418, "by itself"));
        }
        let result = next.run(request).await;
        self.note("<");
        result
    }
}

async fn interceptors(world: World) -> CaseResult {
    let notes = Arc::new(Mutex::new(Vec::new()));
    let noting = |name| -> Arc<dyn HttpInterceptor> { Arc::new(Noting { name, notes: notes.clone() }) };
    let taken = || std::mem::take(&mut *notes.lock().unwrap_or_else(PoisonError::into_inner)).join(" ");
    let lab = world
        .open_with(|setup| {
            setup.around_call = vec![noting("a"), noting("b")];
            setup.around_attempt = vec![noting("c"), noting("d")];
            setup.retry =
                RetryPolicy::default().with_backoff(Duration::from_millis(1), Duration::from_millis(1));
        })
        .await?;
    let (service, count) = numbered(|number, request| {
        let passed: Vec<_> = request
            .headers
            .get_all("x-passed")
            .iter()
            .map(|name| String::from_utf8_lossy(name.as_bytes()))
            .collect();
        let mut response = HttpResponse::new(StatusCode::OK, HttpBody::from(passed.join(" ")));
        if number == 0 {
            response.status = StatusCode::SERVICE_UNAVAILABLE;
        }
        response
    });
    let url = lab.serve(service).await?;
    let call = within("HTTP", "a call", lab.client.request(get(&url))).await?;
    let response = accepted("HTTP", "a call that is tried twice", call)?;
    let passed = whole("HTTP", response.into_body()).await?;
    ensure_eq!("HTTP", passed, "a b c d", "the headers of the second attempt");
    let due = "a> b> c> d> d< c< c> d> d< c< b< a<";
    ensure_eq!("HTTP", taken(), due, "call interceptors stand around retries, attempt interceptors inside");
    ensure_eq!("HTTP", count.get(), 2, "attempts that arrived");

    let call = within("HTTP", "a call", lab.client.request(get(&at(&url, "own")?))).await?;
    let response = accepted("HTTP", "an interceptor that answers by itself", call)?;
    ensure_eq!("HTTP", response.status.as_u16(), 418, "the interceptor's own answer");
    let seen = taken();
    ensure!("HTTP", seen == "a>" && count.get() == 2, "something behind the interceptor was reached: {seen}");
    Ok(())
}
