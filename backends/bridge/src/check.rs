//! What can be said of rules without opening anything.

use std::sync::Arc;

use onex_spi::Error;
use onex_spi::bridge::{BridgeConfig, BridgeFault};

use crate::conditions::{Policy, RuleSet};

/// Compiles the rules of a configuration; answers everything that is wrong, one error a rule.
///
/// Each is `InvalidInput`; its [`BridgeFault`] tells the rule, from 1, and where it is known the column.
///
/// # Examples
/// ```
/// use onex_spi::bridge::{BridgeConfig, RoutingRule};
///
/// let rules = vec![RoutingRule::new("payload.n > 5", "a"), RoutingRule::new("payload.n >", "b")];
/// let errors = onex_bridge::check_rules(&BridgeConfig::default().with_rules(rules));
/// assert_eq!(errors[0].bridge().and_then(|fault| fault.rule), Some(2));
/// ```
#[must_use]
pub fn check_rules(config: &BridgeConfig) -> Vec<Error> {
    let policy = Policy {
        format: config.format,
        unmatched: config.unmatched,
        default_route: config.default_route.as_deref().map(Arc::from),
        comprehensions: config.comprehensions,
    };
    let of = |(place, rule)| {
        let error = RuleSet::compile(std::slice::from_ref(rule), &policy).err()?;
        let mut fault: BridgeFault = *error.bridge()?;
        fault.rule = Some(place + 1);
        // Each was compiled as the first.
        let message = error.message().replacen("rule 1", &format!("rule {}", place + 1), 1);
        Some(Error::invalid("bridge.check", message).with_detail(fault))
    };
    config.rules.iter().enumerate().filter_map(of).collect()
}
