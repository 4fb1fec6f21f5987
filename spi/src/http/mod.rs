//! HTTP: exchanges of one request for one response, the same types on both sides.
//!
//! ```text
//!  caller ─► HttpClient (policy: interceptors, retry, breaker, timeouts) ─► HttpTransport (bytes) ═══ wire
//!  wire ═══ HttpServer (bytes) ─► HttpService (your handler, a router, a transport = a reverse proxy)
//! ```
//!
//! # For callers
//! Hold an `Arc<dyn HttpClient>` and use [`HttpClientExt`]: `client.get(url).send().await`. A status is not
//! an error: a 500 is an `Ok` response. An error says by its kind what to do, by its effect whether the
//! server may have acted, by [`HttpFault`] in which phase and why.
//!
//! # For engine authors
//! Implement [`HttpTransport`]: move one request and one response, stream both bodies, count connections,
//! and leave redirects, retries, decoding and every timeout except the connect timeout alone: they are policy and
//! written once above you. What every engine decides alike is here: [`RequestParts::frame`], [`HttpBody::arriving`],
//! [`head_failed`], [`body_failed`]. Run `onex_testkit::http::transport::conformance`.
//!
//! # Laws
//! The numbers are those of the conformance cases.
//! - **HTTP-6** A response to `HEAD`, a 204 and a 304 has an empty body at once, whatever its headers say (RFC 9110 §6.4.1).
//! - **HTTP-7** A body that ends early is an error that tells the bytes received, never a shorter success (RFC 9112 §8).
//! - **HTTP-8** Broken chunked framing is an error of reason [`HttpReason::Protocol`] (RFC 9112 §7.1).
//! - **HTTP-9** Trailers are the last frame of a body, apart from the headers (RFC 9110 §6.5).
//! - **HTTP-14** Repeated headers keep their number and order, both ways (RFC 9110 §5.3).
//! - **HTTP-15** A header that would break the framing is refused before dialling.
//! - **HTTP-16** A URL with raw spaces or controls is refused, never shortened.
//! - **HTTP-18** A timeout is `TimedOut` with the [`HttpPhase`] that it cut; the total covers retries.
//! - **HTTP-21** A connection that the server closed while idle costs no error.
//! - **HTTP-23** Retries follow [`RetryPolicy::decide`] and nothing else.
//! - **HTTP-24** Dropping a call or a body frees what it held; nothing goes on in its name.
//! - **HTTP-31** A `POST`, `PUT` or `PATCH` without a body says `Content-Length: 0`; a `GET` says nothing (RFC 9110 §8.6).
//! - **HTTP-35** An in-process engine answers an unknown route with an error that names the nearest ones.
//! - **HTTP-41** After `close`, calls answer `Closed`; running ones get their time.
//! - **HTTP-42** A one-shot body is sent at most once; only a replayable one is ever sent again.

mod arriving;
mod body;
mod client;
mod ext;
mod failed;
mod fault;
mod framing;
mod message;
mod retry;
mod server;
mod transport;
mod url;

pub use self::body::HttpBody;
pub use self::client::{
    BreakerBinding, BreakerKey, HostMetrics, HttpClient, HttpClientMetrics, LatencySummary,
};
pub use self::ext::{HttpClientExt, RequestBuilder};
pub use self::failed::{body_failed, connect_timed_out, head_failed};
pub use self::fault::{HttpFault, HttpPhase, HttpReason};
pub use self::message::{HttpRequest, HttpResponse, HttpTimeouts, RequestParts, ResponseParts};
pub use self::retry::{
    Attempt, AttemptResult, RetryBudget, RetryDecision, RetryPolicy, StopReason, retry_after,
};
pub use self::server::{HttpPeer, HttpServer, HttpServing};
pub use self::transport::{
    HttpCapabilities, HttpFeature, HttpInterceptor, HttpLimits, HttpNext, HttpService, HttpTransport,
    PoolStats, Resolver, StatsSource,
};
pub use self::url::HttpUrl;
