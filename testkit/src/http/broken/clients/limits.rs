//! Bugs in time limits: what they cover, when they begin, how they are told.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http_body::{Body, Frame};
use onex_spi::http::{HttpBody, HttpClient, HttpFault, HttpPhase, HttpRequest, HttpResponse};
use onex_spi::{BoxFuture, Clock, Error, ErrorKind, Result};

use super::wrapper::{Bug, add, rename_phase};
use crate::broken::Broken;
use crate::http::broken::wrapper::each_frame;
use crate::http::client::{HttpClientFactory, HttpClientSetup};

pub(super) const BUGS: &[Broken<HttpClientFactory>] = &[
    Broken::new(
        "gives_each_attempt_the_total_limit",
        "HTTP-18",
        &["http_client.timeout_total_backoff"],
        add::<TotalOfAttempt>,
    ),
    Broken::new(
        "ends_the_total_limit_at_the_head",
        "HTTP-18",
        &["http_client.timeout_total_phases", "http_client.timeout_total_ready_body"],
        add::<TotalOfHead>,
    ),
    Broken::new(
        "looks_at_the_total_limit_only_while_it_waits",
        "HTTP-18",
        &["http_client.timeout_total_ready_body"],
        add::<TotalOfWaiting>,
    ),
    Broken::new(
        "tells_no_phase_of_the_total_limit",
        "HTTP-18",
        &[
            "http_client.timeout_total_phases",
            "http_client.timeout_total_backoff",
            "http_client.timeout_of_request",
        ],
        add::<NoPhase>,
    ),
    Broken::new(
        "takes_no_time_for_no_limit",
        "HTTP-18",
        &["http_client.timeout_of_request"],
        add::<ZeroIsNone>,
    ),
    Broken::new(
        "gives_a_call_the_limit_of_an_attempt",
        "HTTP-18",
        &["http_client.timeout_attempt"],
        add::<AttemptOfCall>,
    ),
    Broken::new(
        "cuts_a_body_that_is_only_slow",
        "HTTP-19",
        &["http_client.timeout_idle_read"],
        add::<IdleOfWholeBody>,
    ),
    Broken::new(
        "forgets_the_bytes_received",
        "HTTP-19",
        &["http_client.timeout_idle_read"],
        add::<ForgetsBytes>,
    ),
    Broken::new(
        "has_no_head_limit",
        "HTTP-20",
        &["http_client.timeout_head", "http_client.timeout_headers_slowloris"],
        add::<NoHeadLimit>,
    ),
    Broken::new(
        "starts_the_head_limit_before_the_upload",
        "HTTP-20",
        &["http_client.timeout_head"],
        add::<HeadFromBegin>,
    ),
];

#[derive(Debug, Default)]
struct TotalOfAttempt;

impl Bug for TotalOfAttempt {
    fn setup(&mut self, setup: &mut HttpClientSetup) {
        let total = setup.timeouts.total.take_if(|_| setup.retry.max_retries > 0);
        setup.timeouts.attempt = total.or(setup.timeouts.attempt);
    }
}

/// A total limit that the wrapper keeps instead of the good client, where there are no retries that it must cover.
#[derive(Debug, Default)]
struct OwnTotal(Option<(Arc<dyn Clock>, Duration)>);

impl OwnTotal {
    fn take_from(&mut self, setup: &mut HttpClientSetup) {
        if setup.retry.max_retries == 0 {
            self.0 = setup.timeouts.total.take().map(|total| (setup.clock.clone(), total));
        }
    }

    /// The head within the limit; `None` beside it where the limit is not the wrapper's.
    async fn head(
        &self,
        good: &Arc<dyn HttpClient>,
        request: HttpRequest,
    ) -> Result<(HttpResponse, Option<BoxFuture<'static, ()>>)> {
        let Some((clock, total)) = self.0.as_ref().filter(|_| request.timeouts.total.is_none()) else {
            return Ok((good.request(request).await?, None));
        };
        let deadline: Instant = clock.now() + *total;
        tokio::select! {
            biased;
            result = good.request(request) => Ok((result?, Some(clock.sleep_until(deadline)))),
            () = clock.sleep_until(deadline) => Err(late(HttpPhase::TotalHead)),
        }
    }
}

fn late(phase: HttpPhase) -> Error {
    Error::new(ErrorKind::TimedOut, "http.request", "too late").with_detail(HttpFault::timeout(phase))
}

#[derive(Debug, Default)]
struct TotalOfHead(OwnTotal);

#[async_trait]
impl Bug for TotalOfHead {
    fn setup(&mut self, setup: &mut HttpClientSetup) {
        self.0.take_from(setup);
    }

    async fn request(&self, good: &Arc<dyn HttpClient>, request: HttpRequest) -> Result<HttpResponse> {
        Ok(self.0.head(good, request).await?.0)
    }
}

#[derive(Debug, Default)]
struct TotalOfWaiting(OwnTotal);

#[async_trait]
impl Bug for TotalOfWaiting {
    fn setup(&mut self, setup: &mut HttpClientSetup) {
        self.0.take_from(setup);
    }

    async fn request(&self, good: &Arc<dyn HttpClient>, request: HttpRequest) -> Result<HttpResponse> {
        let (mut response, limit) = self.0.head(good, request).await?;
        if let Some(limit) = limit {
            let inner = std::mem::take(&mut response.body);
            response.body = HttpBody::new(CutWhileWaiting { inner, limit });
        }
        Ok(response)
    }
}

/// Looks at its limit only where the peer has nothing.
struct CutWhileWaiting {
    inner: HttpBody,
    limit: BoxFuture<'static, ()>,
}

impl Body for CutWhileWaiting {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        ready!(self.limit.as_mut().poll(cx));
        Poll::Ready(Some(Err(late(HttpPhase::TotalBody))))
    }
}

#[derive(Debug, Default)]
struct NoPhase;

impl Bug for NoPhase {
    fn result(&self, result: Result<HttpResponse>) -> Result<HttpResponse> {
        result.map_err(|error| rename_phase(error, HttpPhase::TotalHead, None))
    }
}

#[derive(Debug, Default)]
struct ZeroIsNone;

impl Bug for ZeroIsNone {
    fn outgoing(&self, mut request: HttpRequest) -> HttpRequest {
        request.timeouts.total = request.timeouts.total.filter(|total| !total.is_zero());
        request
    }
}

#[derive(Debug, Default)]
struct AttemptOfCall {
    changed: bool,
}

impl Bug for AttemptOfCall {
    fn setup(&mut self, setup: &mut HttpClientSetup) {
        if let Some(limit) = setup.timeouts.attempt.take() {
            setup.timeouts.total = Some(limit);
            self.changed = true;
        }
    }

    fn result(&self, result: Result<HttpResponse>) -> Result<HttpResponse> {
        result.map_err(|error| match self.changed {
            true => rename_phase(error, HttpPhase::TotalHead, Some(HttpPhase::Attempt)),
            false => error,
        })
    }
}

#[derive(Debug, Default)]
struct IdleOfWholeBody;

impl Bug for IdleOfWholeBody {
    fn setup(&mut self, setup: &mut HttpClientSetup) {
        if let Some(limit) = setup.timeouts.idle_read.take() {
            setup.timeouts.total = Some(limit);
        }
    }
}

#[derive(Debug, Default)]
struct ForgetsBytes;

impl Bug for ForgetsBytes {
    fn result(&self, result: Result<HttpResponse>) -> Result<HttpResponse> {
        fn forget(error: Error) -> Error {
            match error.http().cloned() {
                Some(mut fault) => {
                    fault.bytes_received = None;
                    error.with_detail(fault)
                }
                None => error,
            }
        }
        result.map(|response| each_frame(response, |item| item.map(|frame| frame.map_err(forget))))
    }
}

#[derive(Debug, Default)]
struct NoHeadLimit;

impl Bug for NoHeadLimit {
    fn setup(&mut self, setup: &mut HttpClientSetup) {
        setup.timeouts.head = None;
    }
}

#[derive(Debug, Default)]
struct HeadFromBegin {
    changed: bool,
}

impl Bug for HeadFromBegin {
    fn setup(&mut self, setup: &mut HttpClientSetup) {
        if let Some(limit) = setup.timeouts.head.take() {
            setup.timeouts.attempt = Some(limit);
            self.changed = true;
        }
    }

    fn result(&self, result: Result<HttpResponse>) -> Result<HttpResponse> {
        result.map_err(|error| match self.changed {
            true => rename_phase(error, HttpPhase::Attempt, Some(HttpPhase::Head)),
            false => error,
        })
    }
}
