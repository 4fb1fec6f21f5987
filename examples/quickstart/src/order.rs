//! What an order is, and what it must be to be accepted.

use serde::{Deserialize, Serialize};

/// An order as it comes in.
#[non_exhaustive]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// Unique.
    pub id: u64,
    /// Who ordered.
    pub customer: String,
    /// Whose directory knows the customer.
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
    /// # Errors
    /// A sentence that names the field and the rule.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let order: Self = serde_json::from_slice(bytes).map_err(|error| format!("not an order: {error}"))?;
        if order.items.is_empty() {
            return Err(format!("order {}: items is empty; an order has at least one", order.id));
        }
        match order.items.iter().find(|item| item.quantity == 0) {
            Some(item) => {
                Err(format!("order {}: quantity of `{}` is 0; it must be at least 1", order.id, item.sku))
            }
            None => Ok(order),
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
