//! Conveniences for callers of [`HttpClient`].

use std::fmt;
use std::time::Duration;

use ::http::Method;
use ::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{HttpBody, HttpClient, HttpReason, HttpRequest, HttpResponse, HttpUrl};
use crate::{Error, Result};

/// Builds requests on a client; the blanket impl is the only one there can be.
///
/// # Examples
/// ```no_run
/// use onex_spi::http::{HttpClient, HttpClientExt};
///
/// # async fn example(client: std::sync::Arc<dyn HttpClient>) -> onex_spi::Result<()> {
/// let order = serde_json::json!({ "id": 7 });
/// let answer: serde_json::Value =
///     client.post("http://example.com/orders").query("page", 2).json(&order).send_json().await?;
/// # Ok(())
/// # }
/// ```
pub trait HttpClientExt: HttpClient {
    /// Begins a request; a bad URL is told by `send`.
    fn build<U>(&self, method: Method, url: U) -> RequestBuilder<'_, Self>
    where
        U: TryInto<HttpUrl>,
        U::Error: Into<Error>,
    {
        let request = url.try_into().map_err(Into::into).map(|url| HttpRequest::new(method, url));
        RequestBuilder { client: self, request }
    }

    /// Begins a `GET`.
    fn get<U: TryInto<HttpUrl, Error: Into<Error>>>(&self, url: U) -> RequestBuilder<'_, Self> {
        self.build(Method::GET, url)
    }

    /// Begins a `POST`.
    fn post<U: TryInto<HttpUrl, Error: Into<Error>>>(&self, url: U) -> RequestBuilder<'_, Self> {
        self.build(Method::POST, url)
    }

    /// Begins a `PUT`.
    fn put<U: TryInto<HttpUrl, Error: Into<Error>>>(&self, url: U) -> RequestBuilder<'_, Self> {
        self.build(Method::PUT, url)
    }

    /// Begins a `DELETE`.
    fn delete<U: TryInto<HttpUrl, Error: Into<Error>>>(&self, url: U) -> RequestBuilder<'_, Self> {
        self.build(Method::DELETE, url)
    }

    /// Begins a `PATCH`.
    fn patch<U: TryInto<HttpUrl, Error: Into<Error>>>(&self, url: U) -> RequestBuilder<'_, Self> {
        self.build(Method::PATCH, url)
    }

    /// Begins a `HEAD`.
    fn head<U: TryInto<HttpUrl, Error: Into<Error>>>(&self, url: U) -> RequestBuilder<'_, Self> {
        self.build(Method::HEAD, url)
    }

    /// Begins an `OPTIONS`.
    fn options<U: TryInto<HttpUrl, Error: Into<Error>>>(&self, url: U) -> RequestBuilder<'_, Self> {
        self.build(Method::OPTIONS, url)
    }
}

impl<C: HttpClient + ?Sized> HttpClientExt for C {}

/// A request being built; the first mistake is kept and told by [`send`](RequestBuilder::send).
#[must_use = "nothing is sent before `send`"]
#[derive(Debug)]
pub struct RequestBuilder<'a, C: HttpClient + ?Sized> {
    client: &'a C,
    request: Result<HttpRequest>,
}

impl<C: HttpClient + ?Sized> RequestBuilder<'_, C> {
    fn change(mut self, change: impl FnOnce(&mut HttpRequest) -> Result<()>) -> Self {
        if let Ok(request) = &mut self.request
            && let Err(error) = change(request)
        {
            self.request = Err(error);
        }
        self
    }

    /// Adds a header, beside others of its name.
    pub fn header<N, V>(self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        self.change(|request| {
            let name =
                name.try_into().map_err(|_| bad_header("the header name is not a token (RFC 9110 §5.1)"))?;
            let value = value
                .try_into()
                .map_err(|_| bad_header("the header value holds CR, LF or another control"))?;
            request.headers.append(name, value);
            Ok(())
        })
    }

    /// Adds `name=value` to the query, percent-encoded.
    pub fn query(self, name: &str, value: impl fmt::Display) -> Self {
        self.change(|request| {
            let mut url = request.url.url()?.clone();
            url.query_pairs_mut().append_pair(name, &value.to_string());
            request.url = HttpUrl::try_from(url)?;
            Ok(())
        })
    }

    /// Sets the body.
    pub fn body(self, body: impl Into<HttpBody>) -> Self {
        self.change(|request| {
            request.body = body.into();
            Ok(())
        })
    }

    /// Sets a JSON body and its `Content-Type`.
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Self {
        self.change(|request| {
            let bytes = serde_json::to_vec(value).map_err(|error| {
                Error::invalid("http.build", "the value cannot be written as JSON").with_source(error)
            })?;
            request.body = bytes.into();
            request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Ok(())
        })
    }

    /// Sets a form body (`application/x-www-form-urlencoded`).
    pub fn form(self, fields: &[(&str, &str)]) -> Self {
        self.change(|request| {
            let text = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
            request.body = text.into();
            let form = HeaderValue::from_static("application/x-www-form-urlencoded");
            request.headers.insert(CONTENT_TYPE, form);
            Ok(())
        })
    }

    /// Sets a bearer token; the header is marked sensitive.
    pub fn bearer(self, token: &SecretString) -> Self {
        let value = format!("Bearer {}", token.expose_secret());
        self.change(|request| {
            let mut value = HeaderValue::try_from(value)
                .map_err(|_| bad_header("the bearer token holds characters that no header may hold"))?;
            value.set_sensitive(true);
            request.headers.insert(AUTHORIZATION, value);
            Ok(())
        })
    }

    /// Limits the whole call, retries and body included.
    pub fn timeout(self, total: Duration) -> Self {
        self.change(|request| {
            request.timeouts.total = Some(total);
            Ok(())
        })
    }

    /// The request, for what the builder has no word for.
    ///
    /// # Errors
    /// The first mistake that was made while building.
    pub fn into_request(self) -> Result<HttpRequest> {
        self.request
    }

    /// Sends the request.
    ///
    /// # Errors
    /// The first mistake that was made while building; else those of [`HttpClient::request`].
    /// # Cancellation
    /// As [`HttpClient::request`].
    pub async fn send(self) -> Result<HttpResponse> {
        self.client.request(self.request?).await
    }

    /// Sends the request and reads a JSON answer, whatever its status.
    ///
    /// # Errors
    /// Those of [`send`](RequestBuilder::send) and [`HttpResponse::json`].
    /// # Cancellation
    /// As [`HttpClient::request`].
    pub async fn send_json<T: DeserializeOwned>(self) -> Result<T> {
        self.send().await?.json().await
    }
}

fn bad_header(message: &'static str) -> Error {
    Error::invalid("http.build", message).with_detail(HttpReason::InvalidHeader)
}
