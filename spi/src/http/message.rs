//! Requests and responses: one word each, public fields behind `Deref`.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use ::http::{Extensions, HeaderMap, Method, StatusCode, Version, header};
use serde::de::DeserializeOwned;

use super::{HttpBody, HttpReason, HttpUrl};
use crate::{Error, ErrorKind, Result};

/// The time limits of one call; `None` = the client's default.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpTimeouts {
    /// One attempt, from its start to the head of its response.
    pub attempt: Option<Duration>,
    /// Making a connection; the only one that the transport enforces.
    pub connect: Option<Duration>,
    /// From the end of the request body to the head of the response.
    pub head: Option<Duration>,
    /// Between two frames of the response body.
    pub idle_read: Option<Duration>,
    /// The whole call: attempts, waits between them and the response body.
    pub total: Option<Duration>,
}

/// The fields of an [`HttpRequest`].
#[non_exhaustive]
#[derive(Debug)]
pub struct RequestParts {
    /// The method.
    pub method: Method,
    /// Where to.
    pub url: HttpUrl,
    /// The headers, repeats kept in order.
    pub headers: HeaderMap,
    /// The body.
    pub body: HttpBody,
    /// The version that a server received; a client asks for what its engine speaks.
    pub version: Version,
    /// The time limits of this call.
    pub timeouts: HttpTimeouts,
    /// Values for engines, interceptors and handlers; never sent.
    pub extensions: Extensions,
}

/// One request; one word wide, so that nested futures move a pointer.
///
/// # Examples
/// ```
/// use onex_spi::http::{HttpRequest, HttpUrl};
///
/// let mut request = HttpRequest::new(http::Method::POST, HttpUrl::try_from("http://example.com/orders").unwrap());
/// request.headers.insert("x-id", "7".parse().unwrap());
/// request.body = "{}".into();
/// assert!(request.try_clone().is_some(), "a whole body can be sent twice");
/// ```
pub struct HttpRequest(Box<RequestParts>);

impl HttpRequest {
    /// Makes a request without headers and body.
    #[must_use]
    pub fn new(method: Method, url: HttpUrl) -> Self {
        Self(Box::new(RequestParts {
            method,
            url,
            headers: HeaderMap::new(),
            body: HttpBody::EMPTY,
            version: Version::HTTP_11,
            timeouts: HttpTimeouts::default(),
            extensions: Extensions::new(),
        }))
    }

    /// A second copy, or `None` where the body can be sent only once.
    #[must_use]
    pub fn try_clone(&self) -> Option<Self> {
        let body = self.body.try_clone()?;
        Some(Self(Box::new(RequestParts {
            method: self.method.clone(),
            url: self.url.clone(),
            headers: self.headers.clone(),
            body,
            version: self.version,
            timeouts: self.timeouts,
            extensions: self.extensions.clone(),
        })))
    }

    /// Takes the request apart.
    #[must_use]
    pub fn into_parts(self) -> RequestParts {
        *self.0
    }
}

impl Deref for HttpRequest {
    type Target = RequestParts;

    fn deref(&self) -> &RequestParts {
        &self.0
    }
}

impl DerefMut for HttpRequest {
    fn deref_mut(&mut self) -> &mut RequestParts {
        &mut self.0
    }
}

/// Shows method, URL without query, and the number of headers; never a header value.
impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "HttpRequest({} {}, {} headers, {:?})",
            self.method,
            self.url,
            self.headers.len(),
            self.body
        )
    }
}

/// The fields of an [`HttpResponse`].
#[non_exhaustive]
#[derive(Debug)]
pub struct ResponseParts {
    /// The status.
    pub status: StatusCode,
    /// The headers, repeats kept in order.
    pub headers: HeaderMap,
    /// The version that was spoken.
    pub version: Version,
    /// Where the response came from, on the client side.
    pub url: Option<HttpUrl>,
    /// The body.
    pub body: HttpBody,
    /// Values from engines and interceptors.
    pub extensions: Extensions,
}

/// One response; one word wide.
pub struct HttpResponse(Box<ResponseParts>);

impl HttpResponse {
    /// The most that [`json`](HttpResponse::json) reads: 32 MiB.
    pub const JSON_LIMIT: usize = 32 << 20;

    /// Makes a response without headers.
    #[must_use]
    pub fn new(status: StatusCode, body: impl Into<HttpBody>) -> Self {
        let (mut parts, ()) = ::http::Response::new(()).into_parts();
        parts.status = status;
        Self::from_head(parts, body.into(), None)
    }

    /// Makes a JSON response.
    #[must_use]
    pub fn json_value(status: StatusCode, value: serde_json::Value) -> Self {
        let mut response = Self::new(status, value);
        response.headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        response
    }

    /// Makes a response from a head that an engine received.
    #[must_use]
    pub fn from_head(head: ::http::response::Parts, body: HttpBody, url: Option<HttpUrl>) -> Self {
        Self(Box::new(ResponseParts {
            status: head.status,
            headers: head.headers,
            version: head.version,
            url,
            body,
            extensions: head.extensions,
        }))
    }

    /// The body alone.
    #[must_use]
    pub fn into_body(self) -> HttpBody {
        self.0.body
    }

    /// Takes the response apart.
    #[must_use]
    pub fn into_parts(self) -> ResponseParts {
        *self.0
    }

    /// Reads the body as JSON, at most [`JSON_LIMIT`](HttpResponse::JSON_LIMIT) bytes.
    ///
    /// # Errors
    /// `Corrupt` with [`HttpReason::EmptyBody`] or [`HttpReason::Decode`], `TooLarge`, or what the body's stream met.
    /// # Cancellation
    /// Drops the body, which frees its connection.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T> {
        let status = self.status;
        let bytes = self.into_body().bytes(Self::JSON_LIMIT).await?;
        let corrupt = |reason, message: String| {
            Error::new(ErrorKind::Corrupt, "http.json", message).with_detail(reason)
        };
        if bytes.is_empty() {
            return Err(corrupt(
                HttpReason::EmptyBody,
                format!("the {status} response has no body to read as JSON"),
            ));
        }
        serde_json::from_slice(&bytes).map_err(|error| {
            corrupt(HttpReason::Decode, format!("the {status} response is not the expected JSON"))
                .with_source(error)
        })
    }
}

impl Deref for HttpResponse {
    type Target = ResponseParts;

    fn deref(&self) -> &ResponseParts {
        &self.0
    }
}

impl DerefMut for HttpResponse {
    fn deref_mut(&mut self) -> &mut ResponseParts {
        &mut self.0
    }
}

impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpResponse({}, {} headers, {:?})", self.status, self.headers.len(), self.body)
    }
}

const _: () = assert!(size_of::<HttpRequest>() == size_of::<usize>());
const _: () = assert!(size_of::<HttpResponse>() == size_of::<usize>());
