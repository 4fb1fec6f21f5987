//! Bugs in what the breaker is told, and in what its answer does.

use std::sync::{Arc, Mutex, PoisonError};

use ::http::StatusCode;
use async_trait::async_trait;
use onex_spi::http::{BreakerBinding, HttpClient, HttpReason, HttpRequest, HttpResponse};
use onex_spi::{Error, ErrorKind, Result};

use super::wrapper::{Bug, add, each_attempt};
use crate::broken::Broken;
use crate::http::client::{HttpClientFactory, HttpClientSetup};

pub(super) const BUGS: &[Broken<HttpClientFactory>] = &[
    Broken::new(
        "tells_the_breaker_no_server_error",
        "HTTP",
        &["http_client.breaker_opens", "http_client.breaker_per_host"],
        add::<HidesServerErrors>,
    ),
    Broken::new(
        "sends_what_the_breaker_rejects",
        "HTTP",
        &["http_client.breaker_opens", "http_client.breaker_asks_each_attempt"],
        add::<SendsRejected>,
    ),
    Broken::new(
        "misnames_an_open_circuit",
        "HTTP",
        &[
            "http_client.breaker_opens",
            "http_client.breaker_asks_each_attempt",
            "http_client.breaker_per_host",
        ],
        add::<MisnamesOpen>,
    ),
    Broken::new(
        "accepts_a_bad_breaker_config",
        "HTTP",
        &["http_client.breaker_per_host"],
        add::<AcceptsBadConfig>,
    ),
];

fn is_open(error: &Error) -> bool {
    error.http().is_some_and(|fault| fault.reason == HttpReason::CircuitOpen)
}

/// The status that the server gave, where the breaker was shown another.
#[derive(Clone, Copy, Debug)]
struct Given(StatusCode);

#[derive(Debug, Default)]
struct HidesServerErrors;

impl Bug for HidesServerErrors {
    fn setup(&mut self, setup: &mut HttpClientSetup) {
        // Not where the client retries: a status that is hidden here would be hidden from the retries too.
        if setup.breaker.is_none() || setup.retry.max_retries > 0 {
            return;
        }
        each_attempt(setup, |result| {
            result.map(|mut response| {
                let given = response.status;
                if given.is_server_error() {
                    response.extensions.insert(Given(given));
                    response.status = StatusCode::OK;
                }
                response
            })
        });
    }

    fn result(&self, result: Result<HttpResponse>) -> Result<HttpResponse> {
        result.map(|mut response| {
            if let Some(Given(status)) = response.extensions.remove() {
                response.status = status;
            }
            response
        })
    }
}

#[derive(Debug, Default)]
struct SendsRejected {
    binding: Mutex<Option<BreakerBinding>>,
}

impl SendsRejected {
    fn keep(&self, binding: Option<BreakerBinding>) {
        *self.binding.lock().unwrap_or_else(PoisonError::into_inner) = binding;
    }
}

#[async_trait]
impl Bug for SendsRejected {
    fn setup(&mut self, setup: &mut HttpClientSetup) {
        self.keep(setup.breaker.clone());
    }

    async fn request(&self, good: &Arc<dyn HttpClient>, request: HttpRequest) -> Result<HttpResponse> {
        let again = request.try_clone();
        let result = good.request(request).await;
        let (Err(error), Some(again)) = (&result, again) else { return result };
        if is_open(error) {
            let binding = self.binding.lock().unwrap_or_else(PoisonError::into_inner).clone();
            good.configure_circuit_breaker(None)?;
            // What it comes to is told to nobody: the caller hears of the rejection.
            drop(good.request(again).await);
            good.configure_circuit_breaker(binding)?;
        }
        result
    }

    fn configure_breaker(&self, good: &Arc<dyn HttpClient>, binding: Option<BreakerBinding>) -> Result<()> {
        good.configure_circuit_breaker(binding.clone())?;
        self.keep(binding);
        Ok(())
    }
}

#[derive(Debug, Default)]
struct MisnamesOpen;

impl Bug for MisnamesOpen {
    fn result(&self, result: Result<HttpResponse>) -> Result<HttpResponse> {
        result.map_err(|error| match is_open(&error) {
            true => Error::new(ErrorKind::Unavailable, "http.request", "come back later").not_applied(),
            false => error,
        })
    }
}

#[derive(Debug, Default)]
struct AcceptsBadConfig;

impl Bug for AcceptsBadConfig {
    fn configure_breaker(&self, good: &Arc<dyn HttpClient>, binding: Option<BreakerBinding>) -> Result<()> {
        // The good client keeps its binding where it refuses the new one.
        good.configure_circuit_breaker(binding).or(Ok(()))
    }
}
