//! One call from its first attempt to the head of its last: a single flat future.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use http::{Extensions, HeaderMap, Method, Version};
use onex_spi::breaker::{Circuit, CircuitExt, Permit, Rejection};
use onex_spi::http::{
    Attempt, AttemptResult, HttpBody, HttpInterceptor, HttpNext, HttpPhase, HttpRequest, HttpResponse,
    HttpService, HttpTimeouts, HttpTransport, HttpUrl, RetryDecision, RetryPolicy, retry_after,
};
use onex_spi::{Clock, Effect, Error, Gate, Result};

use crate::body::{PolicyBody, Reading};
use crate::circuit::{Policy, outcome_of};
use crate::error::{rejected, timed_out};
use crate::metrics::Metrics;
use crate::origin::{Origin, Origins};
use crate::race::{Limit, TimerSlot, race};
use crate::upload::Upload;
use crate::{CircuitConfig, TimeoutConfig};

/// Everything that calls share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) transport: Arc<dyn HttpTransport>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) around_call: Vec<Arc<dyn HttpInterceptor>>,
    pub(crate) around_attempt: Vec<Arc<dyn HttpInterceptor>>,
    pub(crate) timeouts: TimeoutConfig,
    pub(crate) headers: HeaderMap,
    pub(crate) circuit: CircuitConfig,
    pub(crate) policy: ArcSwap<Policy>,
    pub(crate) origins: Origins,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) random: Mutex<fastrand::Rng>,
    pub(crate) gate: Gate,
}

/// The end of the whole call, which call interceptors carry through to [`Core::run`] in the request's extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(pub(crate) Option<Instant>);

/// The end of the chain of call interceptors.
#[async_trait]
impl HttpService for Core {
    async fn exchange(&self, mut request: HttpRequest) -> Result<HttpResponse> {
        let deadline = match request.extensions.remove::<Deadline>() {
            Some(Deadline(deadline)) => deadline,
            None => self.deadline(&request),
        };
        let origin = self.origins.of(&request.url);
        self.run(request, &origin, deadline).await
    }
}

impl Core {
    /// When the call must be over.
    pub(crate) fn deadline(&self, request: &HttpRequest) -> Option<Instant> {
        let total = request.timeouts.total.or(self.timeouts.total)?;
        self.clock.now().checked_add(total)
    }

    /// Attempts until [`RetryPolicy::decide`] says stop.
    pub(crate) async fn run(
        &self,
        mut request: HttpRequest,
        origin: &Origin,
        deadline: Option<Instant>,
    ) -> Result<HttpResponse> {
        let policy = self.policy.load_full();
        let timeouts = self.timeouts.under(&request.timeouts);
        let method = request.method.clone();
        let clock = &*self.clock;
        let mut timer = TimerSlot::default();
        let (mut retries, mut rejections) = (0, 0);
        // What the attempts before this one may have done; a later error must not promise more than they can.
        let mut earlier = Effect::NotApplied;
        loop {
            // Taken before the default headers, so that a request without headers of its own costs no map.
            let saved = if retries < policy.retry.max_retries { Saved::of(&request) } else { None };
            self.prepare(&mut request, &timeouts);
            let circuit = policy.breaker.as_ref().map(|bound| origin.circuit(bound)).transpose();
            let begin = clock.now();
            let mut upload = None;
            let result = match admit(&circuit, &timeouts, deadline, begin) {
                Err(Refused::ByCircuit(error, rejection)) => {
                    // No attempt was made: the request is still here, and waiting for the circuit uses up no retry.
                    let turned_away = (&error, rejection);
                    let after = self.until_circuit(&policy.retry, &method, turned_away, rejections, deadline);
                    let Some(after) = after else { return Err(with_earlier(error, earlier)) };
                    tracing::debug!(host = %origin.key(), ?after, "waiting for the circuit");
                    rejections += 1;
                    self.pause(&mut timer, after, deadline, &timeouts, earlier).await?;
                    continue;
                }
                Err(Refused::Otherwise(error)) => Err(error),
                Ok((permit, attempt)) => {
                    upload =
                        Upload::watch(&mut request.body, timeouts.head.is_some(), &self.metrics, &self.clock);
                    let whole = request.body.as_bytes().map_or(0, bytes::Bytes::len);
                    let limits = Limits { begin, deadline, attempt, head: timeouts.head };
                    let mut exchange = HttpNext::new(&self.around_attempt, &*self.transport).run(request);
                    let raced = race(exchange.as_mut(), clock, &mut timer, |cx| {
                        limits.earliest(match &upload {
                            Some(upload) => upload.ended(cx),
                            None => Some(begin),
                        })
                    });
                    let raced = raced.await;
                    // A race that was lost ends the exchange before anything else happens.
                    drop(exchange);
                    let result = raced.unwrap_or_else(|phase| {
                        Err(timed_out(phase, limits.told(phase, &timeouts), Effect::Unknown))
                    });
                    if !matches!(&result, Err(error) if error.effect() == Effect::NotApplied) {
                        self.metrics.add_sent(whole);
                    }
                    if let Some(permit) = permit {
                        permit.settle(outcome_of(&result, &self.circuit, clock));
                    }
                    result
                }
            };

            let (saved, after) =
                match self.decide(&policy.retry, &method, origin, &result, retries, saved, deadline) {
                    (Some(saved), RetryDecision::Retry { after }) => (saved, after),
                    _ => {
                        return result
                            .map(|response| self.finish(response, timer, &timeouts, deadline, upload))
                            .map_err(|error| with_earlier(error, earlier));
                    }
                };
            let not_applied = matches!(&result, Err(error) if error.effect() == Effect::NotApplied);
            // A safe method changes nothing however often it arrives (RFC 9110 §9.2.1).
            if !not_applied && !method.is_safe() {
                earlier = Effect::Unknown;
            }
            tracing::debug!(host = %origin.key(), retry = retries + 1, ?after, result = told(&result), "sending again");
            drop(result);
            retries += 1;
            self.metrics.add_retry();
            self.pause(&mut timer, after, deadline, &timeouts, earlier).await?;
            request = saved.into_request();
        }
    }

    /// Waits between two attempts, at most to the end of the call.
    async fn pause(
        &self,
        timer: &mut TimerSlot,
        after: Duration,
        deadline: Option<Instant>,
        timeouts: &HttpTimeouts,
        earlier: Effect,
    ) -> Result<()> {
        let clock = &*self.clock;
        let wake = clock.now().checked_add(after);
        if let Some(until) = wake.into_iter().chain(deadline).min() {
            timer.wait_until(clock, until).await;
        }
        match deadline.is_some_and(|deadline| clock.now() >= deadline) {
            true => Err(timed_out(HttpPhase::TotalBackoff, timeouts.total, earlier)),
            false => Ok(()),
        }
    }

    /// How long to wait for a circuit that turned the attempt away, if it is worth it: as long as it asks for, as often as the policy
    /// retries. A circuit is obeyed even where a server's `Retry-After` is not.
    fn until_circuit(
        &self,
        policy: &RetryPolicy,
        method: &Method,
        (error, rejection): (&Error, Rejection),
        rejections: u32,
        deadline: Option<Instant>,
    ) -> Option<Duration> {
        if rejection.forced {
            // It waits for a person.
            return None;
        }
        let mut obeying = None;
        let policy = match policy.respect_retry_after {
            true => policy,
            false => {
                let obeying = obeying.insert(policy.clone());
                obeying.respect_retry_after = true;
                obeying
            }
        };
        let mut attempt = Attempt::new(method, AttemptResult::Error(error));
        attempt.retries = rejections;
        attempt.random = 0;
        attempt.remaining = deadline.map(|deadline| deadline.saturating_duration_since(self.clock.now()));
        attempt.retry_after = rejection.retry_after;
        if matches!(policy.decide(&attempt), RetryDecision::Stop(_)) {
            return None;
        }
        attempt.random = self.random.lock().unwrap_or_else(PoisonError::into_inner).u64(..);
        match policy.decide(&attempt) {
            RetryDecision::Retry { after } => Some(after),
            _ => None,
        }
    }

    /// Adds the default headers and hands the transport the limits of this call.
    fn prepare(&self, request: &mut HttpRequest, timeouts: &HttpTimeouts) {
        request.timeouts = *timeouts;
        if request.headers.is_empty() {
            request.headers = self.headers.clone();
            return;
        }
        for name in self.headers.keys() {
            if !request.headers.contains_key(name) {
                for value in self.headers.get_all(name) {
                    request.headers.append(name.clone(), value.clone());
                }
            }
        }
    }

    /// Asks the policy; the token of the host's budget is taken only for a retry that everything else allows.
    #[allow(clippy::too_many_arguments, reason = "all that a decision rests on, once")]
    fn decide(
        &self,
        policy: &RetryPolicy,
        method: &Method,
        origin: &Origin,
        result: &Result<HttpResponse>,
        retries: u32,
        saved: Option<Saved>,
        deadline: Option<Instant>,
    ) -> (Option<Saved>, RetryDecision) {
        let mut attempt = match result {
            Ok(response) => Attempt::new(method, AttemptResult::Status(response.status)),
            Err(error) => Attempt::new(method, AttemptResult::Error(error)),
        };
        attempt.retries = retries;
        attempt.replayable = saved.is_some();
        // The least wait: what is refused with it is refused with any, and nothing was drawn or taken for it.
        attempt.random = 0;
        let now = self.clock.now();
        attempt.remaining = deadline.map(|deadline| deadline.saturating_duration_since(now));
        attempt.retry_after = match result {
            Ok(response) if response.status.is_success() => None,
            Ok(response) => retry_after(&response.headers, self.clock.wall()),
            Err(error) => error.retry_after(),
        };
        let mut decision = policy.decide(&attempt);
        if matches!(decision, RetryDecision::Retry { .. }) {
            attempt.random = self.random.lock().unwrap_or_else(PoisonError::into_inner).u64(..);
            decision = policy.decide(&attempt);
        }
        if matches!(decision, RetryDecision::Retry { .. }) {
            attempt.in_budget = origin.take_retry(policy.budget, now);
            decision = policy.decide(&attempt);
        }
        (saved, decision)
    }

    /// A body that is complete is handed out as it is; any other is counted and limited while it is read.
    fn finish(
        &self,
        mut response: HttpResponse,
        timer: TimerSlot,
        timeouts: &HttpTimeouts,
        deadline: Option<Instant>,
        upload: Option<Arc<Upload>>,
    ) -> HttpResponse {
        if let Some(bytes) = response.body.as_bytes() {
            self.metrics.add_received(bytes.len());
            return response;
        }
        let reading = Reading {
            clock: self.clock.clone(),
            timer,
            metrics: self.metrics.clone(),
            idle: timeouts.idle_read,
            total: deadline,
            upload,
            pass: self.gate.stay(),
        };
        let inner = std::mem::take(&mut response.body);
        response.body = HttpBody::new(PolicyBody::new(inner, reading));
        response
    }
}

/// The permit of an attempt, and how long it may take.
type Admitted<'a> = (Option<Permit<&'a dyn Circuit>>, Option<Duration>);

/// Why an attempt may not begin.
enum Refused {
    ByCircuit(Error, Rejection),
    Otherwise(Error),
}

/// Lets an attempt begin: there is time left, and the circuit, if there is one, lets it through; says how long it may take.
fn admit<'a>(
    circuit: &'a Result<Option<Arc<dyn Circuit>>>,
    timeouts: &HttpTimeouts,
    deadline: Option<Instant>,
    now: Instant,
) -> Result<Admitted<'a>, Refused> {
    if deadline.is_some_and(|deadline| deadline <= now) {
        return Err(Refused::Otherwise(timed_out(HttpPhase::TotalHead, timeouts.total, Effect::NotApplied)));
    }
    let circuit = match circuit {
        Err(error) => return Err(Refused::Otherwise(error.clone())),
        Ok(None) => return Ok((None, timeouts.attempt)),
        Ok(Some(circuit)) => &**circuit,
    };
    let attempt = timeouts.attempt.or_else(|| circuit.call_timeout());
    let left = deadline.map(|deadline| deadline.saturating_duration_since(now));
    let lease = attempt.into_iter().chain(left).min();
    let refused = |rejection| Refused::ByCircuit(rejected(circuit, rejection), rejection);
    let permit = circuit.try_acquire_for(lease).map_err(refused)?;
    Ok((Some(permit), attempt))
}

/// The limits of one attempt.
struct Limits {
    begin: Instant,
    deadline: Option<Instant>,
    attempt: Option<Duration>,
    head: Option<Duration>,
}

impl Limits {
    /// The limit that comes first; the head's clock runs from `sent`, the end of the request body.
    fn earliest(&self, sent: Option<Instant>) -> Option<Limit> {
        let from = |start: Option<Instant>, limit: Option<Duration>, phase| {
            Some(Limit { at: start?.checked_add(limit?)?, phase })
        };
        let total = self.deadline.map(|at| Limit { at, phase: HttpPhase::TotalHead });
        let attempt = from(Some(self.begin), self.attempt, HttpPhase::Attempt);
        Limit::earlier(Limit::earlier(total, attempt), from(sent, self.head, HttpPhase::Head))
    }

    fn told(&self, phase: HttpPhase, timeouts: &HttpTimeouts) -> Option<Duration> {
        match phase {
            HttpPhase::Attempt => self.attempt,
            HttpPhase::Head => self.head,
            _ => timeouts.total,
        }
    }
}

/// What a second attempt needs; on the stack, and the headers without the default ones.
struct Saved {
    method: Method,
    url: HttpUrl,
    headers: HeaderMap,
    body: HttpBody,
    version: Version,
    timeouts: HttpTimeouts,
    extensions: Extensions,
}

impl Saved {
    /// `None` where the body can be sent only once (HTTP-42).
    fn of(request: &HttpRequest) -> Option<Self> {
        let body = request.body.try_clone()?;
        Some(Self {
            method: request.method.clone(),
            url: request.url.clone(),
            headers: request.headers.clone(),
            body,
            version: request.version,
            timeouts: request.timeouts,
            extensions: request.extensions.clone(),
        })
    }

    fn into_request(self) -> HttpRequest {
        let mut request = HttpRequest::new(self.method, self.url);
        request.headers = self.headers;
        request.body = self.body;
        request.version = self.version;
        request.timeouts = self.timeouts;
        request.extensions = self.extensions;
        request
    }
}

/// The error of the whole call: it happened perhaps, if an attempt before the last one happened perhaps.
fn with_earlier(error: Error, earlier: Effect) -> Error {
    match earlier {
        Effect::NotApplied => error,
        Effect::Unknown => error.with_effect(Effect::Unknown),
    }
}

fn told(result: &Result<HttpResponse>) -> String {
    match result {
        Ok(response) => response.status.to_string(),
        Err(error) => error.to_string(),
    }
}
