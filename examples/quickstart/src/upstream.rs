//! The directory of customers that the service asks; one of its regions is down.

use async_trait::async_trait;
use http::StatusCode;
use onex_spi::Result;
use onex_spi::http::{HttpRequest, HttpResponse, HttpService};
use serde_json::json;

/// Knows every customer of every region but `legacy`, which answers 500.
#[non_exhaustive]
#[derive(Debug, Default)]
pub struct Directory;

impl Directory {
    /// Makes the directory.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

#[async_trait]
impl HttpService for Directory {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse> {
        let path: Vec<&str> = request.url.path().split('/').skip(1).collect();
        Ok(match path[..] {
            ["legacy", "customers", _] => HttpResponse::new(StatusCode::INTERNAL_SERVER_ERROR, ""),
            [_, "customers", id] => {
                let tier = if id.ends_with('0') { "gold" } else { "standard" };
                HttpResponse::json_value(StatusCode::OK, json!({ "tier": tier }))
            }
            _ => HttpResponse::new(StatusCode::NOT_FOUND, ""),
        })
    }
}
