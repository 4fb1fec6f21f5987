//! How what HTTP and Kafka have no place for travels in their headers: identity, metadata, key.

use onex_spi::bridge::{BridgeFault, BridgeReason, Metadata};
use onex_spi::{Error, Result};

/// The header of a message's id, 32 hexadecimal digits.
pub(crate) const MESSAGE_ID: &str = "onex-message-id";
/// The header of a message's metadata, one JSON object.
pub(crate) const METADATA: &str = "onex-metadata";
/// The HTTP header of a message's key, percent-encoded; absent where the message has none.
pub(crate) const KEY: &str = "onex-key";

/// Writes metadata as JSON of printable ASCII, which every header can carry.
pub(crate) fn write_metadata(metadata: &Metadata) -> Result<String> {
    let text = serde_json::to_string(metadata)
        .map_err(|error| invalid("the metadata cannot be written as JSON".to_owned()).with_source(error))?;
    if text.bytes().all(|byte| byte.is_ascii() && byte != 0x7f) {
        return Ok(text);
    }
    let mut ascii = String::with_capacity(text.len() * 2);
    for character in text.chars() {
        if character.is_ascii() && character != '\x7f' {
            ascii.push(character);
        } else {
            let mut units = [0; 2];
            ascii.extend(character.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    Ok(ascii)
}

/// Reads the metadata of a header.
pub(crate) fn read_metadata(value: &[u8]) -> Result<Metadata> {
    serde_json::from_slice(value).map_err(|error| {
        invalid(format!("the header `{METADATA}` is no JSON object; write one, or leave it out"))
            .with_source(error)
    })
}

/// Writes a key: printable ASCII but `%` as it is, every other byte as `%XX`.
pub(crate) fn write_key(key: &[u8]) -> String {
    let mut text = String::with_capacity(key.len());
    for byte in key {
        match byte {
            b'!'..=b'~' if *byte != b'%' => text.push(char::from(*byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// Reads what [`write_key`] wrote.
pub(crate) fn read_key(text: &[u8]) -> Result<Vec<u8>> {
    let refused =
        || invalid(format!("the header `{KEY}` is no percent-encoded text; write bytes beyond ASCII as %XX"));
    let mut key = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'%' {
            key.push(*first);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2).ok_or_else(refused)?;
        let digit = |at: usize| char::from(digits[at]).to_digit(16);
        let byte = digit(0).zip(digit(1)).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        key.push(byte.ok_or_else(refused)?);
        rest = behind;
    }
    Ok(key)
}

fn invalid(message: String) -> Error {
    Error::invalid("bridge.message", message).with_detail(BridgeFault::new(BridgeReason::InvalidMessage))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_any_bytes_survives_a_header() {
        let all: Vec<u8> = (0..=255).collect();
        for key in [&b""[..], b"user-1", b"100%", b" lead", all.as_slice()] {
            let text = write_key(key);
            assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
            assert_eq!(read_key(text.as_bytes()).expect("its own text"), key);
        }
        assert_eq!(write_key(b"user-1"), "user-1");
        for bad in ["%", "%1", "%zz", "a%"] {
            assert!(read_key(bad.as_bytes()).expect_err(bad).message().contains("percent"), "{bad}");
        }
    }

    #[test]
    fn metadata_of_any_text_survives_as_ascii() {
        let mut metadata = Metadata::new();
        metadata.insert("größe".to_owned(), "\u{1F600}\u{7f}\n\"".into());
        metadata.insert("n".to_owned(), 7.into());
        let text = write_metadata(&metadata).expect("JSON");
        assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{text}");
        assert_eq!(read_metadata(text.as_bytes()).expect("its own text"), metadata);
        assert!(read_metadata(b"[1]").is_err());
    }
}
