//! What a bridge moves.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;

use super::{BridgeFault, BridgeReason};
use crate::kafka::Header;
use crate::{Error, Result};

/// What is known about a message beside its bytes, by name: the path it was posted to, the partition it came from, a caller's notes.
pub type Metadata = serde_json::Map<String, serde_json::Value>;

/// The identity of a message: 128 bits, written as 32 hexadecimal digits; kept over attempts, dead letters and bridges.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(u128);

impl MessageId {
    /// Takes 128 bits that name one message.
    #[must_use]
    pub const fn from_u128(bits: u128) -> Self {
        Self(bits)
    }

    /// The bits.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MessageId {
    type Err = Error;

    /// Reads 32 hexadecimal digits.
    ///
    /// # Errors
    /// `InvalidInput` for anything else.
    fn from_str(text: &str) -> Result<Self> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let bits = digits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        bits.map(Self).ok_or_else(|| {
            let shown: String = text.chars().take(64).collect();
            Error::invalid(
                "bridge.message_id",
                format!("`{shown}` is no message id; write 32 hexadecimal digits"),
            )
            .with_detail(BridgeFault::new(BridgeReason::InvalidMessage))
        })
    }
}

/// A message: one word, cheap to clone; the fields of [`MessageParts`] are reached through it, and copied when a shared one is changed.
///
/// # Examples
/// ```
/// use onex_spi::bridge::{BridgeMessage, MessageId};
/// use onex_spi::kafka::Header;
///
/// let message = BridgeMessage::new(MessageId::from_u128(7), r#"{"event":"user_login"}"#)
///     .with_key("user-1")
///     .with_header(Header::new("content-type", "application/json"))
///     .with_metadata("path", "/hooks");
/// assert_eq!(message.headers.len(), 1);
/// assert_eq!(message.id.to_string(), "00000000000000000000000000000007");
/// ```
#[derive(Clone, PartialEq)]
pub struct BridgeMessage(Arc<MessageParts>);

/// The fields of a [`BridgeMessage`].
#[non_exhaustive]
#[derive(Clone, PartialEq)]
pub struct MessageParts {
    /// Its identity.
    pub id: MessageId,
    /// What orders it among others, such as a Kafka record's key; null and empty differ.
    pub key: Option<Bytes>,
    /// Its bytes.
    pub payload: Bytes,
    /// Its headers, in order; names may repeat.
    pub headers: Vec<Header>,
    /// What is known about it.
    pub metadata: Metadata,
}

impl BridgeMessage {
    /// Makes a message without key, headers and metadata.
    #[must_use]
    pub fn new(id: MessageId, payload: impl Into<Bytes>) -> Self {
        let payload = payload.into();
        Self(Arc::new(MessageParts {
            id,
            key: None,
            payload,
            headers: Vec::new(),
            metadata: Metadata::new(),
        }))
    }

    /// Sets the key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Adds a header behind the others.
    #[must_use]
    pub fn with_header(mut self, header: Header) -> Self {
        self.headers.push(header);
        self
    }

    /// Sets what is known under `name`.
    #[must_use]
    pub fn with_metadata(mut self, name: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        self.metadata.insert(name.into(), value.into());
        self
    }

    /// The value of the first header called `name`, as it is written, if it has one.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        self.headers.iter().find(|header| &*header.name == name)?.value.as_ref()
    }
}

impl Deref for BridgeMessage {
    type Target = MessageParts;

    fn deref(&self) -> &MessageParts {
        &self.0
    }
}

impl DerefMut for BridgeMessage {
    fn deref_mut(&mut self) -> &mut MessageParts {
        Arc::make_mut(&mut self.0)
    }
}

impl fmt::Debug for BridgeMessage {
    /// Shows sizes and names, never the bytes: they may be anybody's secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|header| &*header.name).collect();
        f.debug_struct("BridgeMessage")
            .field("id", &self.id)
            .field("key_bytes", &self.key.as_ref().map(Bytes::len))
            .field("payload_bytes", &self.payload.len())
            .field("headers", &names)
            .field("metadata", &self.metadata.keys().collect::<Vec<_>>())
            .finish()
    }
}

impl fmt::Debug for MessageParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&BridgeMessage(Arc::new(self.clone())), f)
    }
}

const _: () = assert!(size_of::<BridgeMessage>() == size_of::<usize>(), "a message is one word");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text() {
        for bits in [0, 7, u128::MAX, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef] {
            let id = MessageId::from_u128(bits);
            assert_eq!(id.to_string().parse::<MessageId>().expect("its own text"), id);
        }
        for text in ["", "7", "+0000000000000000000000000000007", "0000000000000000000000000000000g", "ä"] {
            assert!(text.parse::<MessageId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_clone_is_changed_alone() {
        let first = BridgeMessage::new(MessageId::from_u128(1), "a");
        let second = first.clone().with_header(Header::new("x", "y"));
        assert!(first.headers.is_empty());
        assert_eq!(second.header("x").map(|value| &value[..]), Some(&b"y"[..]));
    }

    #[test]
    fn debug_shows_no_bytes() {
        let message = BridgeMessage::new(MessageId::from_u128(1), "hunter2")
            .with_header(Header::new("authorization", "hunter2"));
        assert!(!format!("{message:?}").contains("hunter2"));
    }
}
