//! What the ends of a bridge may say in a file.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use http::Method;
use onex_spi::http::HttpUrl;
use onex_spi::{Error, Result};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, Unexpected};

use super::HeaderList;

/// When a caller is answered.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Once it is known what became of the message. The default.
    #[default]
    Settled,
    /// With 202 as soon as the message is queued in this process: what dies with the process is then nobody's.
    Accepted,
}

/// A source: `source = { protocol = "http", listen = "127.0.0.1:8080", path = "/hooks" }`.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSourceConfig {
    /// The address to listen at; port 0 = any free one.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// The one path that is served. Default `/`.
    #[serde(default = "root", deserialize_with = "path")]
    pub path: String,
    /// The methods that bring a message. Default `POST` and `PUT`.
    #[serde(default = "post_and_put", deserialize_with = "methods")]
    pub methods: Vec<Method>,
    /// When a caller is answered. Default `settled`.
    #[serde(default)]
    pub reply: Reply,
    /// The most callers whose message is being read or waits to be taken; the next is told 503. Default 256.
    #[serde(default = "places", deserialize_with = "at_least_one")]
    pub queue: usize,
    /// The headers of a request that become headers of its message. Default `["*"]`.
    #[serde(default)]
    pub headers: HeaderList,
    /// How long a caller may take to send its body. Default 30 s.
    #[serde(default = "half_a_minute", with = "humantime_serde")]
    pub read_timeout: Duration,
    /// What a caller who is told to come again is told to wait, in whole seconds. Default 1 s.
    #[serde(default = "second", with = "humantime_serde")]
    pub retry_after: Duration,
}

/// A target: `target = { protocol = "http", url = "http://127.0.0.1:9000" }`; its routes are paths below the URL.
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpTargetConfig {
    /// Where the paths of the routes begin.
    #[serde(deserialize_with = "base")]
    pub url: HttpUrl,
    /// The method that brings a message: `POST`, `PUT` or `PATCH`. Default `POST`.
    #[serde(default = "post", deserialize_with = "method")]
    pub method: Method,
    /// The headers of a message that become headers of its request. Default `["*"]`.
    #[serde(default)]
    pub headers: HeaderList,
    /// How long one delivery may take, the reply included. Default 30 s.
    #[serde(default = "half_a_minute", with = "humantime_serde")]
    pub timeout: Duration,
    /// The most bytes of a reply that are handed back; a longer one is not. Default 1 MiB.
    #[serde(default = "mebibyte")]
    pub reply_bytes: usize,
    /// The most requests of one batch under way at once, at least 1. Above 1 the messages of a batch arrive in any order. Default 1.
    #[serde(default = "one", deserialize_with = "at_least_one")]
    pub concurrency: usize,
    /// Whether the server is asked (`HEAD` of the URL, any answer is good) before the bridge starts. Default true.
    #[serde(default = "yes")]
    pub probe: bool,
}

impl fmt::Debug for HttpTargetConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTargetConfig")
            .field("url", &self.url)
            .field("method", &self.method)
            .field("concurrency", &self.concurrency)
            .finish_non_exhaustive()
    }
}

impl HttpTargetConfig {
    /// The URL of a route.
    ///
    /// # Errors
    /// `InvalidInput` saying what a route looks like.
    pub(super) fn url_of(&self, route: &str) -> Result<HttpUrl> {
        let refused = || {
            let shown: String = route.chars().take(64).collect();
            let shown = shown.split('?').next().unwrap_or_default();
            let message = format!(
                "the route `{}` is no path; write it as it travels, from `/` on, percent-encoded, without query and fragment",
                shown.escape_debug()
            );
            Error::invalid("bridge.route", message)
        };
        if !is_path(route) {
            return Err(refused());
        }
        let prefix = self.url.path().trim_end_matches('/');
        let authority = self.url.uri().authority().map_or("", |authority| authority.as_str());
        let path = format!("{prefix}{route}");
        let url = HttpUrl::try_from(format!("{}://{authority}{path}", self.url.scheme()))
            .map_err(|error| refused().with_source(error))?;
        if url.path() == path { Ok(url) } else { Err(refused()) }
    }
}

/// Whether `text` is a path as it travels: what a URL would rewrite is none.
fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\\".contains(&byte))
}

fn wrong<'de, D: Deserializer<'de>>(text: &str, expected: &'static str) -> D::Error {
    D::Error::invalid_value(Unexpected::Str(text), &expected)
}

fn address<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<SocketAddr, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map_err(|_| {
        wrong::<D>(&text, "an IP address and a port, such as 127.0.0.1:8080; port 0 is any free one")
    })
}

fn path<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<String, D::Error> {
    let text = String::deserialize(from)?;
    if is_path(&text) { Ok(text) } else { Err(wrong::<D>(&text, "a path from `/` on, without query")) }
}

fn base<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<HttpUrl, D::Error> {
    let text = String::deserialize(from)?;
    let url = HttpUrl::try_from(text.as_str()).ok().filter(|url| url.uri().query().is_none());
    // The text may hold a password, so it is not shown.
    url.ok_or_else(|| {
        D::Error::custom("invalid value: expected an absolute http:// or https:// URL without query, such as http://127.0.0.1:9000")
    })
}

fn method<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Method, D::Error> {
    let text = String::deserialize(from)?;
    brings_a_body(&text).ok_or_else(|| wrong::<D>(&text, "`POST`, `PUT` or `PATCH`"))
}

fn methods<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Vec<Method>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    if texts.is_empty() {
        return Err(D::Error::custom(
            "invalid value: no method is left; write at least one of `POST`, `PUT`, `PATCH`",
        ));
    }
    let known =
        |text: &String| brings_a_body(text).ok_or_else(|| wrong::<D>(text, "`POST`, `PUT` or `PATCH`"));
    texts.iter().map(known).collect()
}

fn brings_a_body(text: &str) -> Option<Method> {
    [Method::POST, Method::PUT, Method::PATCH].into_iter().find(|method| method.as_str() == text)
}

fn at_least_one<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<usize, D::Error> {
    match usize::deserialize(from)? {
        0 => Err(D::Error::invalid_value(Unexpected::Unsigned(0), &"a number from 1 on")),
        number => Ok(number),
    }
}

fn root() -> String {
    "/".to_owned()
}

fn post_and_put() -> Vec<Method> {
    vec![Method::POST, Method::PUT]
}

fn places() -> usize {
    256
}

fn half_a_minute() -> Duration {
    Duration::from_secs(30)
}

fn second() -> Duration {
    Duration::from_secs(1)
}

fn post() -> Method {
    Method::POST
}

fn mebibyte() -> usize {
    1 << 20
}

fn one() -> usize {
    1
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use onex_spi::provider::{KeyError, Table};

    use super::*;

    fn table(text: &str) -> Table {
        text.parse().expect("a table")
    }

    fn target(text: &str) -> HttpTargetConfig {
        table(text).try_into().expect("a target")
    }

    #[test]
    fn every_wrong_key_is_named_with_what_would_be_right() {
        let cases = [
            ("", "listen", "missing field"),
            ("listen = 'localhost'", "listen", "127.0.0.1:8080"),
            ("listen = '127.0.0.1:0'\npath = 'hooks'", "path", "from `/` on"),
            ("listen = '127.0.0.1:0'\nmethods = ['GET']", "methods", "`POST`, `PUT`"),
            ("listen = '127.0.0.1:0'\nmethods = []", "methods", "at least one"),
            ("listen = '127.0.0.1:0'\nqueue = 0", "queue", "from 1 on"),
            ("listen = '127.0.0.1:0'\nqeue = 1", "qeue", "expected one of"),
            ("listen = '127.0.0.1:0'\nreply = 'later'", "reply", "`settled`"),
            ("listen = '127.0.0.1:0'\nheaders = ['host']", "headers", "connection"),
        ];
        for (text, key, says) in cases {
            let errors = KeyError::of_config::<HttpSourceConfig>(&table(text));
            assert_eq!(errors.len(), 1, "{text}");
            assert_eq!(errors[0].path, [key], "{text}: {}", errors[0].message);
            assert!(errors[0].message.contains(says), "{text}: {}", errors[0].message);
        }
        let errors = KeyError::of_config::<HttpTargetConfig>(&table("url = 'ftp://u:hunter2@h'"));
        assert!(
            errors[0].message.contains("http://") && !errors[0].message.contains("hunter2"),
            "{errors:?}"
        );
    }

    #[test]
    fn a_route_is_a_path_below_the_url_and_nothing_else() {
        let target = target("url = 'http://u:hunter2@127.0.0.1:9000/in/'");
        let of = |route: &str| target.url_of(route).map(|url| url.uri().to_string());
        assert_eq!(of("/a%20b/c").expect("a path"), "http://127.0.0.1:9000/in/a%20b/c");
        assert_eq!(of("//other").expect("a path"), "http://127.0.0.1:9000/in//other");
        for bad in ["", "a", "/a b", "/a?token=hunter2", "/a#b", "/ü", "/../out", "/a/./b", "/a\\b"] {
            let error = of(bad).expect_err(bad);
            assert!(
                error.message().contains("is no path") && !error.message().contains("hunter2"),
                "{error}"
            );
        }
        assert!(!format!("{target:?}").contains("hunter2"));
    }
}
