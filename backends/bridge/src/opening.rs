//! From a configuration to open ends, with everything refused before that can be.
//!
//! ```text
//!  names ─► ranges ─► the ends' own checks ─► rules compiled ─► target, dead-letter target, source opened ─► routes, loops
//! ```
//!
//! The source comes last, so that nothing is taken that has nowhere to go.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use onex_spi::bridge::{
    BridgeConfig, BridgeContext, BridgeFault, BridgeProtocol, BridgeReason, BridgeTarget, DeadLetterConfig,
    Protocol,
};
use onex_spi::provider::{KeyError, Table, Value};
use onex_spi::{Clock, Error, Lifecycle, Result};

use crate::bridge::{DeadEnd, Limits, Parts};
use crate::conditions::{Policy, RuleSet};
use crate::error::CREATE;

/// How long an end that was opened in vain gets to close.
const IN_VAIN: Duration = Duration::from_secs(5);

/// The protocols that an engine knows.
pub(crate) struct Protocols(BTreeMap<Protocol, Arc<dyn BridgeProtocol>>);

impl Protocols {
    pub(crate) fn new(protocols: Vec<Arc<dyn BridgeProtocol>>) -> Result<Self> {
        let mut known = BTreeMap::new();
        for protocol in protocols {
            let name = protocol.name();
            if known.insert(name.clone(), protocol).is_some() {
                let message = format!("two protocols are called `{name}`; give each name once");
                return Err(invalid(BridgeReason::InvalidConfig, message));
            }
        }
        Ok(Self(known))
    }

    fn find(&self, name: &Protocol) -> Result<&Arc<dyn BridgeProtocol>> {
        self.0.get(name).ok_or_else(|| {
            let known = self.0.keys().map(Protocol::as_str).collect::<Vec<_>>().join("`, `");
            let message = format!("there is no protocol `{name}`; known are `{known}`");
            invalid(BridgeReason::UnknownProtocol, message)
        })
    }
}

impl fmt::Debug for Protocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys().map(Protocol::as_str)).finish()
    }
}

/// A bridge that can be opened, as far as can be told without opening it.
pub(crate) struct Plan<'a> {
    name: Arc<str>,
    protocols: (Protocol, Protocol),
    source: (&'a Arc<dyn BridgeProtocol>, Table),
    target: (&'a Arc<dyn BridgeProtocol>, Table),
    dead: Option<(&'a Arc<dyn BridgeProtocol>, DeadLetterConfig)>,
    limits: Limits,
    rules: RuleSet,
}

impl<'a> Plan<'a> {
    /// # Errors
    /// `InvalidInput` for whatever is refused.
    pub(crate) fn new(
        known: &'a Protocols,
        name: &Arc<str>,
        source: Protocol,
        target: Protocol,
        config: BridgeConfig,
    ) -> Result<Self> {
        if name.trim().is_empty() {
            return Err(invalid(
                BridgeReason::InvalidConfig,
                "a bridge needs a name that is not blank".to_owned(),
            ));
        }
        let (from, into) = (known.find(&source)?, known.find(&target)?);
        config.validate()?;
        let dead =
            config.dead_letter.map(|dead| Ok::<_, Error>((known.find(&dead.protocol)?, dead))).transpose()?;
        check("source", &source, &config.source, from.check_source(&config.source))?;
        check("target", &target, &config.target, into.check_target(&config.target))?;
        if let Some((protocol, dead)) = &dead {
            check("dead_letter.target", &dead.protocol, &dead.target, protocol.check_target(&dead.target))?;
        }
        let policy = Policy {
            format: config.format,
            unmatched: config.unmatched,
            default_route: config.default_route.map(Arc::from),
            comprehensions: config.comprehensions,
        };
        let rules = RuleSet::compile(&config.rules, &policy)?;
        let limits = Limits {
            retry: config.retry,
            in_flight: config.in_flight,
            overflow: config.overflow,
            message_bytes: config.message_bytes,
        };
        Ok(Self {
            name: name.clone(),
            protocols: (source, target),
            source: (from, config.source),
            target: (into, config.target),
            dead,
            limits,
            rules,
        })
    }

    /// Opens the ends; whatever was opened in vain is closed again.
    pub(crate) async fn open(self, clock: Arc<dyn Clock>, seed: u64) -> Result<Opened> {
        let context = BridgeContext::new(clock.clone(), seed, self.name.clone(), self.limits.message_bytes);
        let mut ends = Ends::default();
        match self.open_into(&mut ends, &context, clock).await {
            Ok(opened) => Ok(opened),
            Err(error) => {
                ends.close().await;
                Err(error)
            }
        }
    }

    async fn open_into(
        self,
        ends: &mut Ends,
        context: &BridgeContext,
        clock: Arc<dyn Clock>,
    ) -> Result<Opened> {
        let target = self.target.0.target(self.target.1, context).await?;
        ends.0.push(target.clone());
        let mut dead = None;
        if let Some((protocol, config)) = self.dead {
            let target = protocol.target(config.target, context).await?;
            ends.0.push(target.clone());
            dead = Some(DeadEnd { target, to: config.to.into() });
        }
        // Routes that are wrong in themselves are told before a source takes anything.
        check_routes(CREATE, &self.rules, &*target, &[])?;
        if let Some(dead) = &dead {
            check_dead_letter(dead, &[])?;
        }
        let source = self.source.0.source(self.source.1, context).await?;
        ends.0.push(source.clone());
        let addresses = source.addresses();
        check_routes(CREATE, &self.rules, &*target, &addresses)?;
        if let Some(dead) = &dead {
            check_dead_letter(dead, &addresses)?;
        }
        let (name, protocols, limits, rules) = (self.name, self.protocols, self.limits, self.rules);
        Ok(Opened(Parts { name, protocols, limits, source, target, dead, rules, clock }))
    }
}

/// Everything that a bridge is made of, open.
pub(crate) struct Opened(Parts);

impl Opened {
    pub(crate) fn into_parts(self) -> Parts {
        self.0
    }

    pub(crate) fn ends(&self) -> Ends {
        let mut ends = Ends(vec![self.0.target.clone(), self.0.source.clone()]);
        ends.0.extend(self.0.dead.as_ref().map(|dead| dead.target.clone() as Arc<dyn Lifecycle>));
        ends
    }
}

/// Open ends, to be closed where there will be no bridge of them.
#[derive(Default)]
pub(crate) struct Ends(Vec<Arc<dyn Lifecycle>>);

impl Ends {
    pub(crate) async fn close(self) {
        // The source, opened last, goes first.
        for end in self.0.iter().rev() {
            if let Err(error) = end.close(IN_VAIN).await {
                tracing::warn!(%error, "an end that was opened in vain does not close");
            }
        }
    }
}

/// Refuses routes that the target does not understand, and those that lead back into the source (B13).
///
/// # Errors
/// `InvalidInput` naming the rule.
pub(crate) fn check_routes(
    operation: &'static str,
    rules: &RuleSet,
    target: &dyn BridgeTarget,
    source: &[String],
) -> Result<()> {
    for (rule, to) in rules.routes() {
        let place = match rule {
            0 => "default_route".to_owned(),
            rule => format!("rule {rule}"),
        };
        check_route(operation, &place, rule, to, target, source)?;
    }
    Ok(())
}

fn check_dead_letter(dead: &DeadEnd, source: &[String]) -> Result<()> {
    check_route(CREATE, "dead_letter", 0, &dead.to, &*dead.target, source)
}

fn check_route(
    operation: &'static str,
    place: &str,
    rule: usize,
    to: &str,
    target: &dyn BridgeTarget,
    source: &[String],
) -> Result<()> {
    let fault = |reason| match rule {
        0 => BridgeFault::new(reason),
        rule => BridgeFault::new(reason).with_rule(rule),
    };
    target.check_route(to).map_err(|error| {
        let reason = if rule == 0 { BridgeReason::InvalidConfig } else { BridgeReason::InvalidRule };
        Error::invalid(operation, format!("{place}: {}", error.message()))
            .with_detail(fault(reason))
            .with_source(error)
    })?;
    let address = target.address(to);
    if source.contains(&address) {
        let message =
            format!("{place} leads to `{address}`, from where the bridge takes its messages; choose another");
        return Err(Error::invalid(operation, message).with_detail(fault(BridgeReason::Loop)));
    }
    Ok(())
}

/// Tells all keys that a protocol refuses at once.
fn check(end: &str, protocol: &Protocol, config: &Table, errors: Vec<KeyError>) -> Result<()> {
    if errors.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = errors
        .iter()
        .map(|error| {
            let path: Vec<&str> = std::iter::once(end).chain(error.path.iter().map(String::as_str)).collect();
            format!("{}: {}", path.join("."), without_values(&error.message, config))
        })
        .collect();
    let message = format!("the protocol `{protocol}` refuses {}", told.join("; "));
    Err(invalid(BridgeReason::InvalidEndpoint, message))
}

/// The text without the strings of the configuration that it quotes: any of them may be a secret (B12).
fn without_values(text: &str, config: &Table) -> String {
    let mut text = text.to_owned();
    let mut todo: Vec<&Value> = config.values().collect();
    while let Some(value) = todo.pop() {
        match value {
            Value::String(value) => text = text.replace(&format!("{value:?}"), "that is not shown"),
            Value::Array(values) => todo.extend(values),
            Value::Table(table) => todo.extend(table.values()),
            _ => {}
        }
    }
    text
}

fn invalid(reason: BridgeReason, message: String) -> Error {
    Error::invalid(CREATE, message).with_detail(BridgeFault::new(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_error_shows_no_value_of_the_configuration() {
        let config: Table =
            "password = 'hunter2'\nend = { secrets = ['tops3cret'] }".parse().expect("a table");
        let errors = vec![KeyError::new(
            "password",
            "invalid type: string \"hunter2\", expected a table or \"tops3cret\"",
        )];
        let error = check("source", &Protocol::new("http"), &config, errors).expect_err("a key error");
        assert!(error.message().contains("source.password"), "{error}");
        assert!(
            !format!("{error:?}").contains("hunter2") && !format!("{error}").contains("tops3cret"),
            "{error}"
        );
    }
}
