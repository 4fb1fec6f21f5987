//! What an order is, and what it must be to be accepted.

use serde::{Deserialize, Serialize};
use serde_json::error::Category;

/// An order as it comes in.
#[non_exhaustive]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// Unique.
    pub id: u64,
    /// Who ordered; a [name](Order::parse).
    pub customer: String,
    /// Whose directory knows the customer; a [name](Order::parse).
    pub region: String,
    /// At least one.
    pub items: Vec<Item>,
}

/// One line of an order.
#[non_exhaustive]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Item {
    /// What.
    pub sku: String,
    /// How many, at least one.
    pub quantity: u32,
    /// The price of one.
    pub cents: u64,
}

/// What the upstream directory knows of a customer.
#[non_exhaustive]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Customer {
    /// The discount group.
    pub tier: String,
}

/// An order with what the upstream added; the value of a record.
#[non_exhaustive]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EnrichedOrder {
    /// The order.
    #[serde(flatten)]
    pub order: Order,
    /// The customer's discount group.
    pub tier: String,
    /// The sum of the items.
    pub total_cents: u64,
}

impl Order {
    /// Reads an order and checks it.
    ///
    /// A name is 1 to 32 of `a-z A-Z 0-9 - _`: it becomes a segment of a path and the name of a circuit.
    ///
    /// # Errors
    /// A sentence that names the field and the rule.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err("not an order: it is one JSON object".to_owned());
        }
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let order: Self = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            match (error.inner().classify(), error.path().to_string().as_str(), error.inner()) {
                // A syntax error is at a place of the text, and what is missing has no path of its own.
                (Category::Data, at, rule) if at != "." => format!("not an order: {at}: {rule}"),
                (_, _, rule) => format!("not an order: {rule}"),
            }
        })?;
        reader.end().map_err(|error| format!("not an order: {error}"))?;
        order.check().map_err(|rule| format!("order {}: {rule}", order.id)).map(|()| order)
    }

    fn check(&self) -> Result<(), String> {
        for (field, name) in [("customer", &self.customer), ("region", &self.region)] {
            let named = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
            if !named || !(1..=32).contains(&name.len()) {
                return Err(format!("{field} must be 1 to 32 of a-z A-Z 0-9 - _"));
            }
        }
        if self.items.is_empty() {
            return Err("items is empty; an order has at least one".to_owned());
        }
        match self.items.iter().position(|item| item.quantity == 0) {
            Some(at) => Err(format!("items[{at}].quantity is 0; it must be at least 1")),
            None => Ok(()),
        }
    }

    /// Adds what the upstream knows.
    #[must_use]
    pub fn enriched(self, customer: Customer) -> EnrichedOrder {
        let total =
            |sum: u64, item: &Item| sum.saturating_add(item.cents.saturating_mul(u64::from(item.quantity)));
        let total_cents = self.items.iter().fold(0, total);
        EnrichedOrder { tier: customer.tier, total_cents, order: self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_order_is_refused_by_field_and_rule() {
        let cases = [
            ("", "not an order: it is one JSON object"),
            ("not json", "not an order: it is one JSON object"),
            (r#"[{"id":1}]"#, "not an order: it is one JSON object"),
            (r#"{"id":1,"customer":"c-1""#, "not an order: EOF while parsing an object at line 1 column 24"),
            (
                r#"{"id":1,"region":"eu","items":[]}"#,
                "not an order: missing field `customer` at line 1 column 33",
            ),
            (
                r#"{"id":"1x"}"#,
                "not an order: id: invalid type: string \"1x\", expected u64 at line 1 column 10",
            ),
            (
                r#"{"id":1,"items":[{"sku":"a","quantity":1,"cents":2},{"sku":"a","quantity":1,"cents":-5}]}"#,
                "not an order: items[1].cents: invalid value: integer `-5`, expected u64 at line 1 column 86",
            ),
            (
                r#"{"id":1,"customer":"c","region":"eu","items":[]} {}"#,
                "not an order: trailing characters at line 1 column 50",
            ),
            (
                r#"{"id":1,"customer":"c","region":"eu","items":[]}"#,
                "order 1: items is empty; an order has at least one",
            ),
            (
                r#"{"id":1,"customer":"c","region":"eu","items":[{"sku":"a","quantity":0,"cents":2}]}"#,
                "order 1: items[0].quantity is 0; it must be at least 1",
            ),
            (
                r#"{"id":1,"customer":"../..","region":"eu","items":[]}"#,
                "order 1: customer must be 1 to 32 of a-z A-Z 0-9 - _",
            ),
            (
                r#"{"id":1,"customer":"c","region":"","items":[]}"#,
                "order 1: region must be 1 to 32 of a-z A-Z 0-9 - _",
            ),
        ];
        for (line, reason) in cases {
            assert_eq!(Order::parse(line.as_bytes()).expect_err(line), reason);
        }
    }

    #[test]
    fn a_total_that_does_not_fit_stays_at_the_most() {
        let line = format!(
            r#"{{"id":1,"customer":"c","region":"eu","items":[{{"sku":"a","quantity":2,"cents":{}}}]}}"#,
            u64::MAX
        );
        let order = Order::parse(line.as_bytes()).expect("an order");
        assert_eq!(order.enriched(Customer { tier: "gold".to_owned() }).total_cents, u64::MAX);
    }
}
