//! What the head of a request says about its body, decided once for every engine (HTTP-15, HTTP-31).

use std::fmt;

use ::http::header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING};
use ::http::{HeaderMap, Method};
use http_body::Body;

use super::{HttpReason, RequestParts};
use crate::{Error, Result};

impl RequestParts {
    /// Makes the head tell the truth about the body; to be called before anything is dialled.
    ///
    /// Refuses headers that contradict the body or each other. Adds `Content-Length: 0` to a `POST`, `PUT` or `PATCH` without
    /// a body, and `Transfer-Encoding: chunked` where the length is not known; a length that is known is the engine's to add.
    ///
    /// # Errors
    /// `InvalidInput` with [`HttpReason::InvalidHeader`], naming the header.
    pub fn frame(&mut self) -> Result<()> {
        let length = self.body.size_hint().exact();
        check(&self.headers, length)?;
        match length {
            Some(0) if matches!(self.method, Method::POST | Method::PUT | Method::PATCH) => {
                self.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            }
            Some(_) => {}
            // A library may take a body of unknown length for none unless the header says that there is one.
            None => {
                self.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            }
        }
        Ok(())
    }

    /// Refuses what an engine without TLS and tunnels cannot send; to be called before anything is dialled.
    ///
    /// # Errors
    /// `Unsupported` for `https://` and for `CONNECT`.
    pub fn require_plain(&self) -> Result<()> {
        let refused = |message| Err(Error::unsupported("http.exchange", message));
        if self.url.scheme() != "http" {
            return refused(
                "https:// needs TLS, which this engine does not speak; use http:// or another engine",
            );
        }
        if self.method == Method::CONNECT {
            return refused("this engine opens no CONNECT tunnels");
        }
        Ok(())
    }
}

/// Line ends in names and values the types refuse already; what is left are headers that contradict the body.
fn check(headers: &HeaderMap, length: Option<u64>) -> Result<()> {
    for value in headers.get_all(CONTENT_LENGTH) {
        let digits = value.as_bytes().iter().all(u8::is_ascii_digit);
        let said = value.to_str().ok().filter(|_| digits).and_then(|text| text.parse::<u64>().ok());
        if said.is_none() || said != length {
            let body = match length {
                Some(length) => format!("is {length} bytes long"),
                None => "has no known length".to_owned(),
            };
            let why = format!("contradicts the body, which {body}; leave it out, the engine adds it");
            return Err(refused(&CONTENT_LENGTH, why));
        }
    }
    for value in headers.get_all(TRANSFER_ENCODING) {
        if !value.as_bytes().eq_ignore_ascii_case(b"chunked") || headers.contains_key(CONTENT_LENGTH) {
            let why = "may only say chunked, and not beside Content-Length; leave it out, the engine adds it";
            return Err(refused(&TRANSFER_ENCODING, why));
        }
    }
    for name in [CONTENT_LENGTH, TRANSFER_ENCODING, HOST] {
        if headers.get_all(&name).iter().nth(1).is_some() {
            return Err(refused(&name, "stands there twice; give one, or none and the engine adds it"));
        }
    }
    Ok(())
}

fn refused(name: &HeaderName, why: impl fmt::Display) -> Error {
    Error::invalid("http.exchange", format!("the header {name} {why}")).with_detail(HttpReason::InvalidHeader)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{HttpBody, HttpRequest, HttpUrl};
    use crate::{Effect, ErrorKind};

    fn parts(method: Method, headers: &[(HeaderName, &'static str)], body: HttpBody) -> RequestParts {
        let mut parts = HttpRequest::new(method, HttpUrl::try_from("http://h/").expect("a URL")).into_parts();
        for (name, value) in headers {
            parts.headers.append(name, HeaderValue::from_static(value));
        }
        parts.body = body;
        parts
    }

    fn unknown() -> HttpBody {
        HttpBody::replayable(|| "abc".into(), None)
    }

    #[test]
    fn an_empty_post_says_so_and_a_get_says_nothing() {
        // HTTP-31
        let with_zero = [Method::POST, Method::PUT, Method::PATCH].map(|method| (method, Some("0")));
        for (method, length) in with_zero.into_iter().chain([(Method::GET, None), (Method::DELETE, None)]) {
            let mut parts = parts(method, &[], HttpBody::EMPTY);
            parts.frame().expect("good");
            let said = parts.headers.get(CONTENT_LENGTH).map(|value| value.to_str().expect("text"));
            assert_eq!(said, length, "{}", parts.method);
        }
    }

    #[test]
    fn a_body_of_unknown_length_is_chunked_and_not_dropped() {
        let mut parts = parts(Method::GET, &[], unknown());
        parts.frame().expect("good");
        assert_eq!(parts.headers[TRANSFER_ENCODING], "chunked");
    }

    #[test]
    fn headers_that_contradict_the_framing_are_refused() {
        // HTTP-15
        let rows: [(&[(HeaderName, &'static str)], HttpBody); 10] = [
            (&[(CONTENT_LENGTH, "3"), (TRANSFER_ENCODING, "chunked")], "abc".into()),
            (&[(CONTENT_LENGTH, "4")], "abc".into()),
            (&[(CONTENT_LENGTH, "3"), (CONTENT_LENGTH, "4")], "abc".into()),
            (&[(CONTENT_LENGTH, "3"), (CONTENT_LENGTH, "3")], "abc".into()),
            (&[(CONTENT_LENGTH, "+3")], "abc".into()),
            (&[(CONTENT_LENGTH, "x")], "abc".into()),
            (&[(CONTENT_LENGTH, "3")], unknown()),
            (&[(TRANSFER_ENCODING, "gzip, chunked")], unknown()),
            (&[(TRANSFER_ENCODING, "chunked"), (TRANSFER_ENCODING, "chunked")], unknown()),
            (&[(HOST, "a"), (HOST, "b")], HttpBody::EMPTY),
        ];
        for (headers, body) in rows {
            let error = parts(Method::POST, headers, body).frame().expect_err("refused");
            let told = (error.kind(), error.effect(), error.http().map(|fault| fault.reason));
            let due = (ErrorKind::InvalidInput, Effect::NotApplied, Some(HttpReason::InvalidHeader));
            assert_eq!(told, due, "{headers:?}");
        }
        assert!(parts(Method::POST, &[(CONTENT_LENGTH, "3")], "abc".into()).frame().is_ok());
    }

    #[test]
    fn tls_and_tunnels_are_refused_with_no_effect() {
        for (method, url) in [(Method::GET, "https://h/"), (Method::CONNECT, "http://h/")] {
            let request = HttpRequest::new(method, HttpUrl::try_from(url).expect("a URL"));
            let error = request.into_parts().require_plain().expect_err(url);
            assert_eq!((error.kind(), error.effect()), (ErrorKind::Unsupported, Effect::NotApplied), "{url}");
        }
    }
}
