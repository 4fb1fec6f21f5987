//! Who answers at an address of the network.

use std::sync::Arc;

use http::StatusCode;
use onex_spi::http::{HttpBody, HttpReason, HttpResponse, HttpService};
use onex_spi::{Error, ErrorKind, Gate, Pass, Result};

/// Who answers at an address, found by the network as long as the address is listened at.
#[derive(Debug)]
pub(super) struct Listener {
    service: Arc<dyn HttpService>,
    gate: Gate,
}

impl Listener {
    pub(super) fn new(service: Arc<dyn HttpService>, gate: Gate) -> Self {
        Self { service, gate }
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(super) fn service(&self) -> &Arc<dyn HttpService> {
        &self.service
    }

    /// Accepts one exchange.
    pub(super) fn enter(&self) -> Result<Pass> {
        self.gate.enter("http.exchange").map_err(|_| {
            Error::new(ErrorKind::Unavailable, "http.exchange", "the server stopped listening")
                .not_applied()
                .with_detail(HttpReason::Connect)
        })
    }

    /// What the caller sees of the handler's answer: an error is a 500 and is traced, not told.
    pub(super) fn answered(&self, answer: Result<HttpResponse>) -> HttpResponse {
        answer.unwrap_or_else(|error| {
            tracing::error!(error = format!("{error:#}"), "the handler failed; answered 500");
            HttpResponse::new(StatusCode::INTERNAL_SERVER_ERROR, HttpBody::EMPTY)
        })
    }
}
