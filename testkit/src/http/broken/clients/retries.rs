//! Bugs in what is sent again.

use std::sync::Arc;

use ::http::header::RETRY_AFTER;
use ::http::{HeaderValue, StatusCode};
use async_trait::async_trait;
use onex_spi::http::{HttpClient, HttpReason, HttpRequest, HttpResponse, RetryPolicy};
use onex_spi::{Effect, Error, ErrorKind, Result};
use tokio::sync::Notify;

use super::wrapper::{Bug, add, each_attempt};
use crate::broken::Broken;
use crate::http::client::{HttpClientFactory, HttpClientSetup};

pub(super) const BUGS: &[Broken<HttpClientFactory>] = &[
    Broken::new(
        "repeats_a_post_that_was_answered",
        "HTTP-23",
        &["http_client.post_not_repeated"],
        add::<RepeatsPost>,
    ),
    Broken::new(
        "repeats_what_may_have_happened",
        "HTTP-23",
        &["http_client.unsent_is_repeated"],
        add::<RepeatsUnknown>,
    ),
    Broken::new(
        "doubts_what_was_not_sent",
        "HTTP-23",
        &["http_client.unsent_is_repeated"],
        add::<DoubtsUnsent>,
    ),
    Broken::new("repeats_a_lost_post", "HTTP-22", &["http_client.stale_pool_race"], add::<RepeatsLost>),
    Broken::new("retries_past_the_budget", "HTTP-23", &["http_client.retry_budget"], add::<IgnoresBudget>),
    Broken::new("has_its_own_statuses", "HTTP-23", &["http_client.retry_policy"], add::<OwnStatuses>),
    Broken::new("ignores_a_retry_after_date", "HTTP-23", &["http_client.retry_after"], add::<IgnoresDates>),
    Broken::new("shortens_a_long_retry_after", "HTTP-23", &["http_client.retry_after"], add::<ShortensWait>),
    Broken::new(
        "keeps_a_one_shot_body_to_send_it_again",
        "HTTP-42",
        &["http_client.one_shot_not_repeated"],
        add::<KeepsOneShot>,
    ),
    Broken::new("accepts_a_bad_policy", "HTTP-23", &["http_client.configure_refuses"], add::<AcceptsBad>),
    Broken::new(
        "keeps_the_old_policy",
        "HTTP-23",
        &["http_client.configure_is_atomic", "http_client.retry_policy", "http_client.post_not_repeated"],
        add::<KeepsOldPolicy>,
    ),
    Broken::new(
        "gives_running_calls_the_new_policy",
        "HTTP-23",
        &["http_client.configure_is_atomic"],
        add::<RestartsRunning>,
    ),
];

/// A second try of a call that is not idempotent, where `again` says so of the first.
async fn twice(
    good: &Arc<dyn HttpClient>,
    request: HttpRequest,
    again: fn(&Result<HttpResponse>) -> bool,
) -> Result<HttpResponse> {
    let second = Some(&request).filter(|request| !request.method.is_idempotent());
    let second = second.and_then(HttpRequest::try_clone);
    let first = good.request(request).await;
    match second {
        Some(second) if again(&first) => good.request(second).await,
        _ => first,
    }
}

fn may_have_happened(error: &Error) -> bool {
    (error.kind(), error.effect()) == (ErrorKind::Unavailable, Effect::Unknown)
}

fn is_lost(error: &Error) -> bool {
    error.http().is_some_and(|fault| fault.reason == HttpReason::ConnectionLost)
}

#[derive(Debug, Default)]
struct RepeatsPost;

#[async_trait]
impl Bug for RepeatsPost {
    async fn request(&self, good: &Arc<dyn HttpClient>, request: HttpRequest) -> Result<HttpResponse> {
        let unavailable = |first: &Result<HttpResponse>| matches!(first, Ok(response) if response.status == StatusCode::SERVICE_UNAVAILABLE);
        twice(good, request, unavailable).await
    }
}

#[derive(Debug, Default)]
struct RepeatsUnknown;

#[async_trait]
impl Bug for RepeatsUnknown {
    async fn request(&self, good: &Arc<dyn HttpClient>, request: HttpRequest) -> Result<HttpResponse> {
        twice(
            good,
            request,
            |first| matches!(first, Err(error) if may_have_happened(error) && !is_lost(error)),
        )
        .await
    }
}

#[derive(Debug, Default)]
struct RepeatsLost;

#[async_trait]
impl Bug for RepeatsLost {
    async fn request(&self, good: &Arc<dyn HttpClient>, request: HttpRequest) -> Result<HttpResponse> {
        twice(good, request, |first| matches!(first, Err(error) if is_lost(error))).await
    }
}

#[derive(Debug, Default)]
struct DoubtsUnsent;

impl Bug for DoubtsUnsent {
    fn setup(&mut self, setup: &mut HttpClientSetup) {
        each_attempt(setup, |result| {
            result.map_err(|error| match error.kind() {
                ErrorKind::Unavailable => error.with_effect(Effect::Unknown),
                _ => error,
            })
        });
    }
}

#[derive(Debug, Default)]
struct IgnoresBudget;

impl Bug for IgnoresBudget {
    fn setup(&mut self, setup: &mut HttpClientSetup) {
        setup.retry.budget = None;
    }
}

#[derive(Debug, Default)]
struct OwnStatuses;

impl Bug for OwnStatuses {
    fn configure_retries(&self, good: &Arc<dyn HttpClient>, mut policy: RetryPolicy) -> Result<()> {
        policy.validate()?;
        policy.retry_on = RetryPolicy::default().retry_on;
        good.configure_retry_policy(policy)
    }
}

fn seconds(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.parse().ok()
}

#[derive(Debug, Default)]
struct IgnoresDates;

impl Bug for IgnoresDates {
    fn setup(&mut self, setup: &mut HttpClientSetup) {
        each_attempt(setup, |result| {
            result.map(|mut response| {
                if response.headers.get(RETRY_AFTER).is_some_and(|value| seconds(value).is_none()) {
                    response.headers.remove(RETRY_AFTER);
                }
                response
            })
        });
    }
}

#[derive(Debug, Default)]
struct ShortensWait;

impl Bug for ShortensWait {
    fn setup(&mut self, setup: &mut HttpClientSetup) {
        let most = setup.retry.max_backoff.as_secs();
        each_attempt(setup, move |result| {
            result.map(|mut response| {
                if response.headers.get(RETRY_AFTER).and_then(seconds).is_some_and(|asked| asked > most) {
                    response.headers.insert(RETRY_AFTER, HeaderValue::from(most / 4));
                }
                response
            })
        });
    }
}

#[derive(Debug, Default)]
struct KeepsOneShot;

#[async_trait]
impl Bug for KeepsOneShot {
    async fn request(&self, good: &Arc<dyn HttpClient>, mut request: HttpRequest) -> Result<HttpResponse> {
        if request.body.try_clone().is_none() {
            request.body = std::mem::take(&mut request.body).bytes(usize::MAX).await?.into();
        }
        good.request(request).await
    }
}

#[derive(Debug, Default)]
struct AcceptsBad;

impl Bug for AcceptsBad {
    fn configure_retries(&self, good: &Arc<dyn HttpClient>, policy: RetryPolicy) -> Result<()> {
        match policy.validate() {
            Ok(()) => good.configure_retry_policy(policy),
            Err(_) => Ok(()),
        }
    }
}

#[derive(Debug, Default)]
struct KeepsOldPolicy;

impl Bug for KeepsOldPolicy {
    fn configure_retries(&self, _: &Arc<dyn HttpClient>, policy: RetryPolicy) -> Result<()> {
        policy.validate()
    }
}

#[derive(Debug, Default)]
struct RestartsRunning {
    changed: Notify,
}

#[async_trait]
impl Bug for RestartsRunning {
    async fn request(&self, good: &Arc<dyn HttpClient>, request: HttpRequest) -> Result<HttpResponse> {
        let Some(again) = request.try_clone() else { return good.request(request).await };
        tokio::select! {
            biased;
            () = self.changed.notified() => good.request(again).await,
            result = good.request(request) => result,
        }
    }

    fn configure_retries(&self, good: &Arc<dyn HttpClient>, policy: RetryPolicy) -> Result<()> {
        good.configure_retry_policy(policy)?;
        self.changed.notify_waiters();
        Ok(())
    }
}
