//! Which headers cross, and which HTTP can carry.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use onex_spi::bridge::{BridgeFault, BridgeMessage, BridgeReason};
use onex_spi::kafka::Header;
use onex_spi::{Error, Result};
use serde::de::{Deserialize, Deserializer, Error as _, Unexpected};

use crate::wire::{KEY, MESSAGE_ID, METADATA};

/// Headers of one connection or of its framing (RFC 9110 §7.6.1): they never cross, whatever a configuration says.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers that hold secrets: they cross only where the configuration names them.
const SECRET: &[&str] =
    &["authorization", "cookie", "proxy-authenticate", "proxy-authorization", "set-cookie"];

/// A list of the headers that cross: names, beginnings that end in `*`, or `*` for all.
///
/// A star never takes `authorization`, `proxy-authorization`, `cookie` and their answers: who wants them names them. Headers of
/// the connection (`connection`, `host`, `content-length`, `transfer-encoding`, ..) never cross and cannot be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderList(Vec<Pattern>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Name(String),
    Beginning(String),
}

impl Default for HeaderList {
    /// All but those that hold secrets.
    fn default() -> Self {
        Self(vec![Pattern::Beginning(String::new())])
    }
}

impl HeaderList {
    /// Whether a header called `name`, in lower case, crosses.
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| match pattern {
            Pattern::Name(known) => known == name,
            Pattern::Beginning(beginning) => name.starts_with(beginning.as_str()) && !SECRET.contains(&name),
        })
    }

    /// The headers of a request or a response that cross, without those that the bridge itself reads.
    pub(super) fn taken(&self, headers: &HeaderMap) -> Vec<Header> {
        let named_by_connection = |name: &str| {
            let said =
                headers.get_all(http::header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
            said.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case(name))
        };
        let taken = headers.iter().filter(|(name, _)| {
            let name = name.as_str();
            !HOP_BY_HOP.contains(&name)
                && ![MESSAGE_ID, METADATA, KEY].contains(&name)
                && self.has(name)
                && !named_by_connection(name)
        });
        taken.map(|(name, value)| Header::new(name.as_str(), value.as_bytes().to_vec())).collect()
    }

    /// The headers of a message that cross, as HTTP carries them.
    ///
    /// # Errors
    /// `InvalidInput` for one that crosses and that HTTP cannot carry as it is: it would arrive changed, or not at all.
    pub(super) fn given(&self, message: &BridgeMessage) -> Result<HeaderMap> {
        let mut given = HeaderMap::with_capacity(message.headers.len() + 4);
        for header in &message.headers {
            let lower = header.name.to_ascii_lowercase();
            if !self.has(&lower) {
                continue;
            }
            let lost = |why: &str| {
                let shown: String = header.name.chars().take(64).collect();
                lost(format!("the header `{}` {why}; leave it out of `headers`", shown.escape_debug()))
            };
            if HOP_BY_HOP.contains(&lower.as_str()) {
                return Err(lost("belongs to the connection in HTTP"));
            }
            let name = HeaderName::from_bytes(header.name.as_bytes())
                .map_err(|_| lost("has a name that is no token of HTTP (RFC 9110 §5.1)"))?;
            let value = header.value.as_ref().ok_or_else(|| lost("is null, which HTTP cannot say"))?;
            let edges = [value.first(), value.last()];
            if edges.iter().flatten().any(|byte| matches!(byte, b' ' | b'\t')) {
                return Err(lost("begins or ends with a space, which HTTP drops"));
            }
            if !value.is_ascii() {
                return Err(lost("is not ASCII, which HTTP does not carry (RFC 9110 §5.5)"));
            }
            let value = HeaderValue::from_bytes(value).map_err(|_| lost("holds a control character"))?;
            given.append(name, value);
        }
        Ok(given)
    }
}

/// A message that HTTP cannot say without loss.
pub(super) fn lost(message: String) -> Error {
    Error::invalid("bridge.deliver", message).with_detail(BridgeFault::new(BridgeReason::InvalidMessage))
}

impl<'de> Deserialize<'de> for HeaderList {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        let patterns = Vec::<String>::deserialize(from)?.into_iter().map(|text| {
            let lower = text.to_ascii_lowercase();
            let (name, is_beginning) = lower.strip_suffix('*').map_or((&*lower, false), |name| (name, true));
            let wrong =
                |expected: &'static str| Err(D::Error::invalid_value(Unexpected::Str(&text), &expected));
            if !(is_beginning && name.is_empty()) && HeaderName::from_bytes(name.as_bytes()).is_err() {
                return wrong("the name of a header, or its beginning and `*`");
            }
            if !is_beginning && HOP_BY_HOP.contains(&name) {
                return wrong("a header that can cross; this one belongs to the connection");
            }
            Ok(if is_beginning {
                Pattern::Beginning(name.to_owned())
            } else {
                Pattern::Name(name.to_owned())
            })
        });
        patterns.collect::<std::result::Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use onex_spi::ErrorKind;
    use onex_spi::bridge::MessageId;

    use super::*;

    fn list(names: &[&str]) -> std::result::Result<HeaderList, serde_json::Error> {
        serde_json::from_value(serde_json::json!(names))
    }

    // ONEX-BR-07
    #[test]
    fn secrets_and_the_connection_do_not_cross_by_themselves() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer hunter2"),
            ("cookie", "hunter2"),
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("host", "h"),
            ("onex-key", "k"),
            ("x-own", "1"),
            ("x-own", "2"),
        ] {
            headers.append(name, value.parse().expect("a value"));
        }
        let names = |list: &HeaderList| -> Vec<String> {
            list.taken(&headers).iter().map(|header| header.name.to_string()).collect()
        };
        assert_eq!(names(&HeaderList::default()), ["x-own", "x-own"]);
        assert_eq!(names(&list(&["Authorization"]).expect("a list")), ["authorization"]);
        assert_eq!(names(&list(&["x-o*"]).expect("a list")), ["x-own", "x-own"]);
        assert_eq!(names(&list(&[]).expect("a list")), [""; 0]);
        for bad in ["host", "a b", "", "ü"] {
            assert!(list(&[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_header_that_http_cannot_carry_is_refused_not_dropped() {
        let message = |header| BridgeMessage::new(MessageId::from_u128(1), "x").with_header(header);
        let all = HeaderList::default();
        for (header, why) in [
            (Header::null("a"), "null"),
            (Header::new("a", "ü"), "ASCII"),
            (Header::new("a", " b"), "space"),
            (Header::new("a", "b\r\nc: d"), "control"),
            (Header::new("a b", "c"), "token"),
            (Header::new("Content-Length", "7"), "connection"),
        ] {
            let error = all.given(&message(header)).expect_err(why);
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.message().contains(why), "{error}");
        }
        let given = all.given(&message(Header::new("Trace", "")).with_header(Header::new("trace", "b")));
        let given = given.expect("HTTP can say that");
        assert_eq!(given.get_all("trace").iter().collect::<Vec<_>>(), ["", "b"]);
        let none = list(&[]).expect("a list").given(&message(Header::null("a"))).expect("nothing crosses");
        assert!(none.is_empty());
    }
}
