//! Bugs about connections: who is asked again, what an error claims, what is counted.

use std::sync::Arc;

use ::http::Method;
use async_trait::async_trait;
use onex_spi::http::{HttpPhase, HttpReason, HttpRequest, HttpResponse, HttpTransport, PoolStats};
use onex_spi::{Effect, Error, Result};

use super::wrapper::{Bug, add};
use crate::broken::Broken;

pub(super) const BUGS: &[Broken<dyn HttpTransport>] = &[
    Broken::new("repeats_a_lost_request", "HTTP-42", &["http.stale_pool_race"], add::<RepeatsLost>),
    Broken::new(
        "claims_a_lost_request_was_not_sent",
        "HTTP-22",
        &["http.stale_pool_race"],
        add::<ClaimsUnsent>,
    ),
    Broken::new("forgets_reuse", "HTTP-22", &["http.stale_pool_race"], add::<ForgetsReuse>),
    Broken::new("doubts_a_refused_connection", "HTTP", &["http.connect_refused"], add::<DoubtsRefusal>),
    Broken::new("has_no_connect_timeout", "HTTP-18", &["http.connect_timeout"], add::<NoConnectTimeout>),
    Broken::new("names_the_wrong_phase", "HTTP-18", &["http.connect_timeout"], add::<WrongPhase>),
    Broken::new("counts_no_use", "HTTP-25", &["http.pool_stats_exact"], add::<CountsNoUse>),
];

fn has(error: &Error, reason: HttpReason) -> bool {
    error.http().is_some_and(|fault| fault.reason == reason)
}

fn is_lost(error: &Error) -> bool {
    has(error, HttpReason::ConnectionLost)
}

#[derive(Debug, Default)]
struct RepeatsLost;

#[async_trait]
impl Bug for RepeatsLost {
    async fn exchange(&self, good: &Arc<dyn HttpTransport>, request: HttpRequest) -> Result<HttpResponse> {
        let again = request.try_clone();
        let first = good.exchange(request).await;
        match (first, again) {
            (Err(error), Some(again)) if is_lost(&error) => good.exchange(again).await,
            (first, _) => first,
        }
    }
}

#[derive(Debug, Default)]
struct ClaimsUnsent;

impl Bug for ClaimsUnsent {
    fn result(_: &Method, result: Result<HttpResponse>) -> Result<HttpResponse> {
        result.map_err(|error| if is_lost(&error) { error.not_applied() } else { error })
    }
}

#[derive(Debug, Default)]
struct ForgetsReuse;

impl Bug for ForgetsReuse {
    fn result(_: &Method, result: Result<HttpResponse>) -> Result<HttpResponse> {
        result.map_err(|error| match error.http().cloned() {
            Some(fault) => error.with_detail(fault.with_reused(false)),
            None => error,
        })
    }
}

#[derive(Debug, Default)]
struct DoubtsRefusal;

impl Bug for DoubtsRefusal {
    fn result(_: &Method, result: Result<HttpResponse>) -> Result<HttpResponse> {
        let doubt = |error: Error| match has(&error, HttpReason::Connect) {
            true => error.with_effect(Effect::Unknown),
            false => error,
        };
        result.map_err(doubt)
    }
}

#[derive(Debug, Default)]
struct NoConnectTimeout;

impl Bug for NoConnectTimeout {
    fn request(mut request: HttpRequest) -> HttpRequest {
        // So long that the engine's own default does not stand in for it.
        request.timeouts.connect = Some(std::time::Duration::from_secs(3600));
        request
    }
}

#[derive(Debug, Default)]
struct WrongPhase;

impl Bug for WrongPhase {
    fn result(_: &Method, result: Result<HttpResponse>) -> Result<HttpResponse> {
        result.map_err(|error| match error.http().cloned() {
            Some(mut fault) if fault.phase == Some(HttpPhase::Connect) => {
                fault.phase = Some(HttpPhase::Head);
                error.with_detail(fault)
            }
            _ => error,
        })
    }
}

#[derive(Debug, Default)]
struct CountsNoUse;

impl Bug for CountsNoUse {
    fn pool_stats(mut good: PoolStats) -> PoolStats {
        good.in_use = good.in_use.map(|_| 0);
        good
    }
}
