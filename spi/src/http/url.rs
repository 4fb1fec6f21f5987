//! A URL that is parsed once and carried.

use std::fmt;
use std::sync::{Arc, OnceLock};

use ::http::Uri;
use url::Url;

use super::HttpReason;
use crate::{Error, Result};

/// An absolute `http` or `https` URL: parsed once, shared, never converted per call.
///
/// Engines take the [`Uri`]; what joins or compares takes the [`Url`], which is made at first use.
/// `Debug` and `Display` show scheme, authority and path; never user, password or query.
///
/// # Examples
/// ```
/// use onex_spi::http::HttpUrl;
///
/// let url = HttpUrl::try_from("https://user:pw@example.com/a?token=1").unwrap();
/// assert_eq!(url.to_string(), "https://example.com/a");
/// assert_eq!(url.uri().query(), Some("token=1"));
/// assert!(HttpUrl::try_from("http://example.com/a b").is_err(), "HTTP-16: refused, not shortened");
/// ```
#[derive(Clone)]
pub struct HttpUrl(Arc<Inner>);

struct Inner {
    uri: Uri,
    url: OnceLock<Url>,
}

impl HttpUrl {
    /// Takes over an absolute URI, as a server builds it.
    ///
    /// # Errors
    /// `InvalidInput` with [`HttpReason::InvalidUrl`] unless the URI is absolute `http` or `https`.
    pub fn from_uri(uri: Uri) -> Result<Self> {
        match (uri.scheme_str(), uri.authority()) {
            (Some("http" | "https"), Some(_)) => Ok(Self(Arc::new(Inner { uri, url: OnceLock::new() }))),
            _ => Err(invalid("only absolute http:// and https:// URLs can be requested")),
        }
    }

    /// The form that engines take; without user and password, which are never sent in a URL.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.0.uri
    }

    /// The form for joining and comparing.
    ///
    /// # Errors
    /// `InvalidInput` where a URI from a peer is no URL.
    pub fn url(&self) -> Result<&Url> {
        if let Some(url) = self.0.url.get() {
            return Ok(url);
        }
        let url =
            Url::parse(&self.0.uri.to_string()).map_err(|error| invalid("not a URL").with_source(error))?;
        Ok(self.0.url.get_or_init(|| url))
    }

    /// Resolves `reference` against this URL (RFC 3986 §5).
    ///
    /// # Errors
    /// `InvalidInput` where the result is no absolute `http`/`https` URL.
    pub fn join(&self, reference: &str) -> Result<Self> {
        refuse_raw(reference)?;
        let url =
            self.url()?.join(reference).map_err(|error| invalid("cannot be joined").with_source(error))?;
        Self::try_from(url)
    }

    /// `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.0.uri.scheme_str().unwrap_or_default()
    }

    /// The host, an IPv6 literal in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.uri.host().unwrap_or_default()
    }

    /// The port, or the default one of the scheme.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.uri.port_u16().unwrap_or(if self.scheme() == "https" { 443 } else { 80 })
    }

    /// The path, at least `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.0.uri.path()
    }

    /// Whether scheme, host and port are the same (RFC 6454).
    #[must_use]
    pub fn same_origin(&self, other: &Self) -> bool {
        self.scheme() == other.scheme()
            && self.port() == other.port()
            && self.host().eq_ignore_ascii_case(other.host())
    }
}

fn invalid(message: &'static str) -> Error {
    Error::invalid("http.url", message).with_detail(HttpReason::InvalidUrl)
}

/// The URL standard drops tabs and line ends and encodes spaces silently; HTTP-16 wants neither.
fn refuse_raw(text: &str) -> Result<()> {
    if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(invalid("the URL holds a raw space or control character; percent-encode it"));
    }
    Ok(())
}

impl TryFrom<Url> for HttpUrl {
    type Error = Error;

    fn try_from(mut url: Url) -> Result<Self> {
        url.set_fragment(None);
        if !url.username().is_empty() || url.password().is_some() {
            // Both fail only for URLs without a host, which `from_uri` refuses anyway.
            let _ = url.set_username("");
            let _ = url.set_password(None);
        }
        let uri = Uri::try_from(url.as_str()).map_err(|error| invalid("not a URI").with_source(error))?;
        let this = Self::from_uri(uri)?;
        let _ = this.0.url.set(url);
        Ok(this)
    }
}

impl TryFrom<&str> for HttpUrl {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        refuse_raw(text)?;
        Self::try_from(Url::parse(text).map_err(|error| invalid("not an absolute URL").with_source(error))?)
    }
}

impl TryFrom<String> for HttpUrl {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::try_from(text.as_str())
    }
}

impl TryFrom<&HttpUrl> for HttpUrl {
    type Error = Error;

    fn try_from(url: &Self) -> Result<Self> {
        Ok(url.clone())
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uri = self.uri();
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        write!(f, "{}://{host}{}", self.scheme(), uri.path())
    }
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpUrl({self})")
    }
}

impl PartialEq for HttpUrl {
    fn eq(&self, other: &Self) -> bool {
        self.0.uri == other.0.uri
    }
}

impl Eq for HttpUrl {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_text_never_shows_credentials_or_query() {
        for text in ["http://u:secret@h:81/p?secret=1#secret", "http://secret@h:81/p?secret"] {
            let url = HttpUrl::try_from(text).expect("a URL");
            assert_eq!(url.to_string(), "http://h:81/p");
            assert!(
                !format!("{url:?}{}", url.uri().authority().map_or("", |a| a.as_str())).contains("secret")
            );
        }
    }

    #[test]
    fn bad_urls_are_refused() {
        for text in ["http://h/a b", "http://h/a\r\nX: 1", "/relative", "ftp://h/", "http://", "\thttp://h"] {
            let error = HttpUrl::try_from(text).expect_err(text);
            assert_eq!(error.http().map(|fault| fault.reason), Some(HttpReason::InvalidUrl), "{text}");
        }
    }

    #[test]
    fn origin_ignores_case_and_default_port() {
        let url = |text: &str| HttpUrl::try_from(text).expect("a URL");
        assert!(url("http://EXAMPLE.com/a").same_origin(&url("http://example.com:80/b")));
        assert!(!url("http://example.com").same_origin(&url("https://example.com")));
        assert_eq!(url("http://h/a/b").join("../c").expect("joined").path(), "/c");
    }
}
