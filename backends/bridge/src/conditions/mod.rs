//! Rules as they are applied: compiled whole, decided for one message after the other.

use std::sync::Arc;

use onex_spi::bridge::{BridgeMessage, MessageFormat, RoutingRule, Unmatched};
use onex_spi::{Error, Result};

/// Rules with what happens to messages that none of them takes; swapped whole (B4).
#[derive(Debug)]
pub(crate) struct RuleSet {
    default: Option<Arc<str>>,
    policy: Policy,
}

/// What of the configuration rules depend on; it does not change while a bridge lives.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) format: MessageFormat,
    pub(crate) unmatched: Unmatched,
    pub(crate) default_route: Option<Arc<str>>,
    pub(crate) comprehensions: bool,
}

/// The way of one message.
#[derive(Debug)]
pub(crate) enum Verdict<'a> {
    /// By a rule (from 1), or by the default route (0).
    Route {
        to: &'a Arc<str>,
        rule: u32,
    },
    Drop,
    NoRoute,
    RuleError {
        rule: u32,
        error: Error,
    },
    Undecodable(Error),
}

/// What one decision leaves for the next to reuse.
#[derive(Debug, Default)]
pub(crate) struct Scratch {}

impl RuleSet {
    /// Compiles rules, all or none.
    ///
    /// # Errors
    /// `InvalidInput` naming the rule and the column.
    pub(crate) fn compile(rules: &[RoutingRule], policy: &Policy) -> Result<Self> {
        if !rules.is_empty() {
            return Err(Error::unsupported("bridge.rules", "rules are not here yet"));
        }
        Ok(Self { default: policy.default_route.clone(), policy: policy.clone() })
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Every route with its rule, from 1; 0 = the default route.
    pub(crate) fn routes(&self) -> impl Iterator<Item = (usize, &Arc<str>)> {
        self.default.iter().map(|to| (0, to))
    }

    pub(crate) fn decide(&self, _message: &BridgeMessage, _scratch: &mut Scratch) -> Verdict<'_> {
        match (&self.policy.unmatched, &self.default) {
            (Unmatched::Drop, _) => Verdict::Drop,
            (Unmatched::DefaultRoute, Some(to)) => Verdict::Route { to, rule: 0 },
            _ => Verdict::NoRoute,
        }
    }
}
