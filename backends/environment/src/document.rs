//! Reads the text of a file into values with places; all its syntax errors at once.

use serde_spanned::Spanned;
use toml::Value;
use toml::de::{DeTable, DeValue};

use crate::fault::{Faults, Origin};
use crate::tree::{Entry, Keys, Node, NodeValue};

/// Reads `text`; what it cannot read is a fault.
pub(crate) fn read(text: &str, faults: &mut Faults) -> Keys {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let places = Places::of(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let named =
            Some(error.message()).filter(|message| *message == "duplicate key").and(text.get(span.clone()));
        let message = match named {
            Some(name) => format!("duplicate key `{name}`"),
            None => error.message().to_owned(),
        };
        faults.add(places.at(span.start), "", message);
    }
    keys(table.get_ref(), &places, faults)
}

fn keys(table: &DeTable<'_>, places: &Places<'_>, faults: &mut Faults) -> Keys {
    let entry = |(name, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let key = places.at(name.span().start);
        let name: &std::borrow::Cow<'_, str> = name.get_ref();
        (name.clone().into_owned(), Entry { key, node: node(name, value, places, faults) })
    };
    table.iter().map(entry).collect()
}

fn node(name: &str, value: &Spanned<DeValue<'_>>, places: &Places<'_>, faults: &mut Faults) -> Node {
    let origin = places.at(value.span().start);
    let mut number = |value: Option<Value>| {
        value.unwrap_or_else(|| {
            faults.add(origin.clone(), name, "the number does not fit into 64 bits");
            Value::Integer(0)
        })
    };
    let value = match value.get_ref() {
        DeValue::Table(table) => NodeValue::Table(keys(table, places, faults)),
        DeValue::Array(array) => {
            NodeValue::Array(array.iter().map(|item| node(name, item, places, faults)).collect())
        }
        DeValue::String(text) => NodeValue::Leaf(Value::String(text.clone().into_owned())),
        DeValue::Boolean(is) => NodeValue::Leaf(Value::Boolean(*is)),
        DeValue::Datetime(time) => NodeValue::Leaf(Value::Datetime(*time)),
        DeValue::Integer(digits) => {
            let parsed = i64::from_str_radix(digits.as_str(), digits.radix());
            NodeValue::Leaf(number(parsed.ok().map(Value::Integer)))
        }
        DeValue::Float(digits) => NodeValue::Leaf(number(digits.as_str().parse().ok().map(Value::Float))),
    };
    Node { origin, value }
}

/// Turns bytes into lines and columns.
struct Places<'t> {
    text: &'t str,
    lines: Vec<usize>,
}

impl<'t> Places<'t> {
    fn of(text: &'t str) -> Self {
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { text, lines: std::iter::once(0).chain(starts).collect() }
    }

    fn at(&self, byte: usize) -> Origin {
        let line = self.lines.partition_point(|start| *start <= byte).max(1);
        let before = self.text.get(self.lines[line - 1]..byte.min(self.text.len())).unwrap_or_default();
        Origin::File { line, column: before.chars().count() + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: usize, column: usize) -> Origin {
        Origin::File { line, column }
    }

    #[test]
    fn keys_and_values_know_their_line_and_column() {
        let text = "\u{feff}# größe\r\n[default.http]\r\n  engine = 'ä' # é\r\n[default]\r\n'ü' = { \"b\" = [ 1, 2 ] }";
        let mut faults = Faults::default();
        let mut keys = read(text, &mut faults);
        assert!(faults.is_empty(), "{faults:?}");
        let default = keys.remove("default").expect("default");
        let NodeValue::Table(mut default) = default.node.value else { panic!("a table") };
        let http = default.remove("http").expect("http");
        assert_eq!(http.key, place(2, 10));
        let NodeValue::Table(http) = http.node.value else { panic!("a table") };
        assert_eq!((&http["engine"].key, &http["engine"].node.origin), (&place(3, 3), &place(3, 12)));
        let NodeValue::Table(inline) = &default["ü"].node.value else { panic!("a table") };
        assert_eq!((&inline["b"].key, &inline["b"].node.origin), (&place(5, 9), &place(5, 15)));
        let NodeValue::Array(items) = &inline["b"].node.value else { panic!("an array") };
        assert_eq!(items[1].origin, place(5, 20));
    }

    #[test]
    fn all_syntax_errors_are_told_with_their_places() {
        let mut faults = Faults::default();
        read("[a]\nb =\nc = 'x\n[d]\ne = 1\ne = 2\nf = 0x7fffffffffffffffff", &mut faults);
        let told = faults.into_error("x.toml", "test").to_string();
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines[1], "  x.toml:2:4: string values must be quoted, expected literal string");
        assert_eq!(lines[2], "  x.toml:3:7: invalid literal string, expected `'`");
        assert_eq!(lines[3], "  x.toml:6:1: duplicate key `e`");
        assert_eq!(lines[4], "  x.toml:7:5: f: the number does not fit into 64 bits");
        assert_eq!(lines[5], "4 errors; nothing was opened (InvalidInput)");
    }

    #[test]
    fn a_text_that_nests_without_end_is_a_fault() {
        for text in [format!("{}x = 1", "a.".repeat(100_000)), format!("x = {}1", "{a=".repeat(100_000))] {
            let mut faults = Faults::default();
            read(&text, &mut faults);
            assert!(!faults.is_empty());
        }
    }
}
