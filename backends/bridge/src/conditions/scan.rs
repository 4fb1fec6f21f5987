//! The quick way through a payload: checks that it is JSON, eight bytes of a string at a time, and stops at what is wanted.
//!
//! It takes only what is certainly JSON and easily read. Whatever else comes (an error, a name with escapes, a depth above
//! [`DEEPEST`]) is [`Odd`], and serde_json says from the start what it is.

use serde::de::DeserializeSeed;

use super::slots::{Keep, Node, Slot};

/// How deep the quick way goes; it is recursive.
const DEEPEST: u32 = 64;

/// Something that is left to serde_json.
#[derive(Debug)]
pub(super) struct Odd;

/// Reads what `node` wants of the JSON text.
pub(super) fn read<'m>(text: &'m str, node: &Node, slots: &mut [Slot<'m>]) -> Result<(), Odd> {
    let mut scan = Scan { text, bytes: text.as_bytes(), at: 0 };
    scan.wanted(node, slots, DEEPEST)?;
    scan.space();
    if scan.at == scan.bytes.len() { Ok(()) } else { Err(Odd) }
}

struct Scan<'m> {
    text: &'m str,
    bytes: &'m [u8],
    at: usize,
}

impl<'m> Scan<'m> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> Result<(), Odd> {
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        Err(Odd)
    }

    fn wanted(&mut self, node: &Node, slots: &mut [Slot<'m>], depth: u32) -> Result<(), Odd> {
        self.space();
        if let Some(slot) = node.slot {
            slots[slot] = self.keep(depth)?;
            return Ok(());
        }
        if node.below.is_empty() {
            return self.skip(depth);
        }
        if self.peek() != Some(b'{') {
            node.mark(slots, || Slot::NoObject, || Slot::NoObject);
            return self.no_object(depth);
        }
        // Also where an object comes again under the same name: the last one counts.
        node.mark(slots, || Slot::Missing, || Slot::Absent);
        let depth = depth.checked_sub(1).ok_or(Odd)?;
        self.members(|scan, name| match node.below.iter().find(|(known, _)| **known == *name) {
            Some((_, node)) => scan.wanted(node, slots, depth),
            None => scan.skip(depth),
        })
    }

    /// Passes what stands where an object is wanted. serde_json reads it to find what it is, and refuses a number that no type holds
    /// and half of a surrogate pair, so whatever may be one of them is left to it.
    fn no_object(&mut self, depth: u32) -> Result<(), Odd> {
        match self.peek() {
            Some(b'-' | b'0'..=b'9') => Err(Odd),
            Some(b'"') => match self.string()? {
                (_, false) => Ok(()),
                (_, true) => Err(Odd),
            },
            _ => self.skip(depth),
        }
    }

    /// Goes through an object; `each` reads the value of a name.
    fn members(&mut self, mut each: impl FnMut(&mut Self, &'m str) -> Result<(), Odd>) -> Result<(), Odd> {
        self.eat(b'{')?;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.space();
            let (name, escaped) = self.string()?;
            if escaped {
                return Err(Odd);
            }
            self.space();
            self.eat(b':')?;
            each(self, name)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(Odd),
            }
        }
    }

    fn keep(&mut self, depth: u32) -> Result<Slot<'m>, Odd> {
        if self.peek() == Some(b'"') {
            let begin = self.at;
            return match self.string()? {
                (text, false) => Ok(Slot::Text(text.into())),
                (_, true) => self.parse(begin),
            };
        }
        let begin = self.at;
        self.skip(depth)?;
        self.parse(begin)
    }

    /// Parses what was passed since `begin`, which is one JSON value.
    fn parse(&self, begin: usize) -> Result<Slot<'m>, Odd> {
        let text = self.text.get(begin..self.at).ok_or(Odd)?;
        Keep.deserialize(&mut serde_json::Deserializer::from_str(text)).map_err(|_| Odd)
    }

    fn skip(&mut self, depth: u32) -> Result<(), Odd> {
        self.space();
        match self.peek().ok_or(Odd)? {
            b'"' => self.string().map(|_| ()),
            b'{' => {
                let depth = depth.checked_sub(1).ok_or(Odd)?;
                self.members(|scan, _| scan.skip(depth))
            }
            b'[' => self.list(depth.checked_sub(1).ok_or(Odd)?),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => Err(Odd),
        }
    }

    fn list(&mut self, depth: u32) -> Result<(), Odd> {
        self.eat(b'[')?;
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.skip(depth)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(Odd),
            }
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Odd> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(Odd);
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), Odd> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Odd> {
        let begin = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > begin { Ok(()) } else { Err(Odd) }
    }

    /// Passes a string; answers what stands between its quotes and whether that has escapes.
    fn string(&mut self) -> Result<(&'m str, bool), Odd> {
        self.eat(b'"')?;
        let begin = self.at;
        let mut escaped = false;
        loop {
            self.plain();
            match self.peek() {
                Some(b'"') => {
                    let text = self.text.get(begin..self.at).ok_or(Odd)?;
                    self.at += 1;
                    return Ok((text, escaped));
                }
                Some(b'\\') => {
                    escaped = true;
                    self.at += 1;
                    self.escape()?;
                }
                // The end of the text, or a control character.
                _ => return Err(Odd),
            }
        }
    }

    /// Passes the bytes of a string up to a quote, a backslash or a control character.
    fn plain(&mut self) {
        const ONES: u64 = u64::MAX / 255;
        const HIGHS: u64 = ONES << 7;
        // The lowest byte that is zero has its high bit set here; above it there may be false ones.
        let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
        while let Some(chunk) = self.bytes[self.at..].first_chunk() {
            let word = u64::from_le_bytes(*chunk);
            let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
            let found =
                zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\'))) | control;
            if found != 0 {
                self.at += found.trailing_zeros() as usize / 8;
                return;
            }
            self.at += 8;
        }
        while self.peek().is_some_and(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
            self.at += 1;
        }
    }

    fn escape(&mut self) -> Result<(), Odd> {
        let digits = match self.peek().ok_or(Odd)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 0,
            b'u' => 4,
            _ => return Err(Odd),
        };
        self.at += 1;
        let hex = self.bytes.get(self.at..self.at + digits).ok_or(Odd)?;
        if !hex.iter().all(u8::is_ascii_hexdigit) {
            return Err(Odd);
        }
        self.at += digits;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_plain_goes_the_quick_way_and_what_is_broken_does_not() {
        let good = [
            "{}",
            " { \"a\" : [ 1 , -0.5e+7, true, false, null, \"x\\\"\\u00e4\\\\\", [], {} ] } ",
            "\"äöü long enough for several words\"",
            "-0",
            "[[[[]]]]",
            "{\"a\":\"seven77\",\"b\":\"eight888\",\"c\":\"nine 9999\"}",
        ];
        for text in good {
            assert!(read(text, &Node::default(), &mut []).is_ok(), "{text}");
        }
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        let bad = [
            "",
            " ",
            "{",
            "}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{,}",
            "[1,]",
            "[,]",
            "[1 2]",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "1e+",
            "+1",
            "tru",
            "truee",
            "nul",
            "\"",
            "\"a",
            "\"\\\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\\u12",
            "\"a\tb\"",
            "\"1234567\u{1}\"",
            "1 2",
            "{} {}",
            "'a'",
            "{a:1}",
            "{\"\\u0061\":1}",
            "\u{feff}{}",
            "NaN",
            deep.as_str(),
        ];
        for text in bad {
            assert!(read(text, &Node::default(), &mut []).is_err(), "{text}");
        }
    }
}
