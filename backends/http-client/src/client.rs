//! The port: a call through the door, the total limit and the call interceptors.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use onex_spi::http::{
    BreakerBinding, HttpCapabilities, HttpClient, HttpClientMetrics, HttpNext, HttpPhase, HttpRequest,
    HttpResponse, RetryPolicy,
};
use onex_spi::{Effect, Error, Health, Lifecycle, Result};

use crate::call::{Core, Deadline};
use crate::circuit::{Bound, Policy};
use crate::error::{REQUEST, cut_by_close, timed_out};
use crate::race::{Limit, TimerSlot};

/// The one client.
#[derive(Debug)]
pub(crate) struct Client {
    core: Core,
    /// Held by whoever replaces the policy, so that two replacements do not lose one.
    configuring: Mutex<()>,
}

impl Client {
    pub(crate) fn new(core: Core) -> Self {
        Self { core, configuring: Mutex::new(()) }
    }

    fn replace(&self, change: impl FnOnce(&mut Policy)) {
        let _configuring = self.configuring.lock().unwrap_or_else(PoisonError::into_inner);
        let mut policy = Policy::clone(&self.core.policy.load());
        change(&mut policy);
        self.core.policy.store(Arc::new(policy));
    }
}

#[async_trait]
impl HttpClient for Client {
    fn capabilities(&self) -> &HttpCapabilities {
        self.core.transport.capabilities()
    }

    async fn request(&self, mut request: HttpRequest) -> Result<HttpResponse> {
        let core = &self.core;
        let mut pass = core.gate.enter(REQUEST)?;
        if matches!(request.method, Method::CONNECT | Method::TRACE) {
            let message = format!("{} is not sent: a client neither tunnels nor traces", request.method);
            return Err(Error::invalid(REQUEST, message));
        }
        let origin = core.origins.of(&request.url);
        let call = core.metrics.begin(&origin, &*core.clock, core.clock.now());
        let deadline = core.deadline(&request);
        let told = request.timeouts.total.or(core.timeouts.total);

        let direct = core.around_call.is_empty();
        let mut outer = TimerSlot::default();
        let mut work = pin!(async {
            if direct {
                return core.run(request, &origin, deadline).await;
            }
            request.extensions.insert(Deadline(deadline));
            HttpNext::new(&core.around_call, core).run(request).await
        });
        let result = std::future::poll_fn(|cx| {
            if let Poll::Ready(result) = work.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            if pass.poll_cut(cx).is_ready() {
                return Poll::Ready(Err(cut_by_close()));
            }
            // `run` keeps the total limit itself; interceptors take their time outside it.
            let total = deadline.filter(|_| !direct).map(|at| Limit { at, phase: HttpPhase::TotalHead });
            let Some(limit) = total else { return Poll::Pending };
            let late = outer.poll_at(&*core.clock, limit.at, cx);
            late.map(|()| Err(timed_out(limit.phase, told, Effect::Unknown)))
        })
        .await;
        call.end(&result);
        result
    }

    fn client_metrics(&self) -> HttpClientMetrics {
        self.core.metrics.snapshot(&self.core.origins)
    }

    fn configure_retry_policy(&self, policy: RetryPolicy) -> Result<()> {
        policy.validate()?;
        self.replace(|now| now.retry = policy);
        Ok(())
    }

    fn configure_circuit_breaker(&self, binding: Option<BreakerBinding>) -> Result<()> {
        let bound = binding.map(Bound::new).transpose()?;
        self.replace(|now| now.breaker = bound);
        Ok(())
    }
}

#[async_trait]
impl Lifecycle for Client {
    /// The transport's health.
    async fn health(&self) -> Health {
        if self.core.gate.is_closed() {
            return Health::Unhealthy("the client is closed".to_owned());
        }
        self.core.transport.health().await
    }

    /// Ends this client; the transport, which others may share, stays open for whoever made it to close.
    async fn close(&self, within: Duration) -> Result<()> {
        self.core.gate.close("http.close", within).await
    }
}
