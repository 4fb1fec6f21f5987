//! What a caller is answered.
//!
//! | the message was | answer |
//! | --- | --- |
//! | delivered | 200 with the target's reply, else with `{"message_id", "route"}` |
//! | dead-lettered | 202 `{"message_id", "dead_lettered": reason}` |
//! | filtered | 204 |
//! | failed | by kind: 413, 422, 429 and 503 with `Retry-After`, 504, 502 |

use std::time::Duration;

use http::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Method, StatusCode};
use onex_spi::bridge::{BridgeMessage, Disposition, MessageId, Settled};
use onex_spi::http::{HttpBody, HttpResponse};
use onex_spi::{Error, ErrorKind};
use serde_json::json;

use crate::wire::MESSAGE_ID;

/// The answer for a message that was settled.
pub(super) fn settled(settled: Settled, retry_after: Duration) -> HttpResponse {
    let id = settled.id;
    let answer = match settled.disposition {
        Disposition::Delivered(route) => match settled.reply {
            Some(reply) => replied(&reply),
            None => HttpResponse::json_value(
                StatusCode::OK,
                json!({ "message_id": id.to_string(), "route": &*route }),
            ),
        },
        Disposition::DeadLettered(reason) => HttpResponse::json_value(
            StatusCode::ACCEPTED,
            json!({ "message_id": id.to_string(), "dead_lettered": reason.as_str() }),
        ),
        Disposition::Filtered => HttpResponse::new(StatusCode::NO_CONTENT, HttpBody::EMPTY),
        Disposition::Failed(error) => failed(id, &error, retry_after),
        // A disposition that this source does not know yet: the message has an end, and that is all that can be said.
        _ => HttpResponse::json_value(StatusCode::ACCEPTED, json!({ "message_id": id.to_string() })),
    };
    with_id(answer, id)
}

/// The answer for a message that is queued, where nobody waits for its end.
pub(super) fn accepted(id: MessageId) -> HttpResponse {
    with_id(HttpResponse::json_value(StatusCode::ACCEPTED, json!({ "message_id": id.to_string() })), id)
}

/// The answer for a message of which the bridge will not tell the end.
pub(super) fn cut(id: MessageId, was_taken: bool, retry_after: Duration) -> HttpResponse {
    let message = if was_taken {
        "the bridge ended before it knew what became of the message; it may have been delivered, \
         so send it again with the same onex-message-id"
    } else {
        "the bridge ended before it took the message; send it again"
    };
    let answer = refused(StatusCode::SERVICE_UNAVAILABLE, message, Some(retry_after));
    with_id(answer, id)
}

/// The answer for a request that brought no message.
pub(super) fn refused(
    status: StatusCode,
    message: impl Into<String>,
    retry_after: Option<Duration>,
) -> HttpResponse {
    let error = status.canonical_reason().unwrap_or_default();
    let mut answer = HttpResponse::json_value(status, json!({ "error": error, "message": message.into() }));
    answer.headers.extend(retry_after.map(|after| (RETRY_AFTER, seconds(after))));
    answer
}

/// The answer for a method that brings no message.
pub(super) fn not_allowed(methods: &[Method]) -> HttpResponse {
    let allowed: Vec<&str> = methods.iter().map(Method::as_str).collect();
    let allowed = allowed.join(", ");
    let message = format!("send a message with {allowed}");
    let mut answer = refused(StatusCode::METHOD_NOT_ALLOWED, message, None);
    answer.headers.extend(HeaderValue::from_str(&allowed).ok().map(|value| (ALLOW, value)));
    answer
}

fn replied(reply: &BridgeMessage) -> HttpResponse {
    let mut answer = HttpResponse::new(StatusCode::OK, reply.payload.clone());
    for name in [CONTENT_TYPE, CONTENT_ENCODING] {
        let value = reply.header(name.as_str()).and_then(|value| HeaderValue::from_bytes(value).ok());
        answer.headers.extend(value.map(|value| (name, value)));
    }
    answer
}

/// Says what the caller can do; what the target said stays inside, because a caller may be anybody.
fn failed(id: MessageId, error: &Error, retry_after: Duration) -> HttpResponse {
    let (status, comes_again) = status_of(error.kind());
    let mut answer = HttpResponse::json_value(
        status,
        json!({
            "message_id": id.to_string(),
            "error": format!("{:?}", error.kind()),
            "message": "the message was not delivered, and no dead letter was written; it is yours again",
        }),
    );
    if comes_again {
        let after = error.retry_after().unwrap_or(retry_after);
        answer.headers.insert(RETRY_AFTER, seconds(after));
    }
    answer
}

/// The status for a failure, and whether the caller is asked to come again.
fn status_of(kind: ErrorKind) -> (StatusCode, bool) {
    match kind {
        ErrorKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, false),
        ErrorKind::InvalidInput | ErrorKind::Corrupt => (StatusCode::UNPROCESSABLE_ENTITY, false),
        ErrorKind::ResourceExhausted => (StatusCode::TOO_MANY_REQUESTS, true),
        ErrorKind::Rejected | ErrorKind::Unavailable | ErrorKind::Closed => {
            (StatusCode::SERVICE_UNAVAILABLE, true)
        }
        ErrorKind::TimedOut => (StatusCode::GATEWAY_TIMEOUT, false),
        _ => (StatusCode::BAD_GATEWAY, false),
    }
}

/// `Retry-After` counts whole seconds (RFC 9110 §10.2.3): never less than what is meant.
fn seconds(after: Duration) -> HeaderValue {
    HeaderValue::from(after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0)))
}

fn with_id(mut answer: HttpResponse, id: MessageId) -> HttpResponse {
    let value = HeaderValue::from_str(&id.to_string()).ok();
    answer.headers.extend(value.map(|value| (HeaderName::from_static(MESSAGE_ID), value)));
    answer
}

#[cfg(test)]
mod tests {
    use onex_spi::bridge::{DeadReason, DeliveryTag};
    use onex_spi::kafka::Header;

    use super::*;

    const AGAIN: Duration = Duration::from_secs(1);

    fn answer(disposition: Disposition, reply: Option<BridgeMessage>) -> HttpResponse {
        let id = MessageId::from_u128(7);
        settled(Settled::new(DeliveryTag::new(1), id, disposition).with_reply(reply), AGAIN)
    }

    #[test]
    fn every_end_of_a_message_has_its_status() {
        let failed = |kind| Disposition::Failed(Error::new(kind, "kafka.produce", "broker k-1.internal"));
        for (disposition, status, again) in [
            (Disposition::Delivered("a".into()), 200, false),
            (Disposition::DeadLettered(DeadReason::NoRoute), 202, false),
            (Disposition::Filtered, 204, false),
            (failed(ErrorKind::TooLarge), 413, false),
            (failed(ErrorKind::InvalidInput), 422, false),
            (failed(ErrorKind::ResourceExhausted), 429, true),
            (failed(ErrorKind::Unavailable), 503, true),
            (failed(ErrorKind::Closed), 503, true),
            (failed(ErrorKind::TimedOut), 504, false),
            (failed(ErrorKind::Unauthenticated), 502, false),
            (failed(ErrorKind::NotFound), 502, false),
        ] {
            let told = answer(disposition, None);
            assert_eq!((told.status.as_u16(), told.headers.contains_key(RETRY_AFTER)), (status, again));
            assert_eq!(told.headers[MESSAGE_ID], "00000000000000000000000000000007");
            let body = told.body.as_bytes().expect("whole");
            assert!(!String::from_utf8_lossy(body).contains("internal"), "what is inside stays inside");
        }
    }

    #[test]
    fn a_reply_of_the_target_is_the_answer() {
        let reply = BridgeMessage::new(MessageId::from_u128(7), "<ok/>")
            .with_header(Header::new("content-type", "text/xml"))
            .with_header(Header::new("set-cookie", "hunter2"));
        let told = answer(Disposition::Delivered("a".into()), Some(reply));
        assert_eq!(
            (&told.headers[CONTENT_TYPE], told.headers.len()),
            (&"text/xml".parse().expect("a value"), 2)
        );
        assert_eq!(told.body.as_bytes().map(|bytes| &bytes[..]), Some(&b"<ok/>"[..]));
    }

    #[test]
    fn a_wait_is_told_in_whole_seconds_and_never_shorter() {
        for (wait, told) in [(0, "0"), (1, "1"), (1000, "1"), (1001, "2")] {
            assert_eq!(seconds(Duration::from_millis(wait)), told);
        }
    }
}
