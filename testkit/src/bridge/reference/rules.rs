//! The conditions that the cases use, and no more: `true`, `path == literal`, `path > number`.
//!
//! It is no CEL: whatever has another shape does not compile here.

use std::sync::Arc;

use onex_spi::bridge::{BridgeFault, BridgeMessage, BridgeReason, RoutingRule};
use onex_spi::{Error, Result};
use serde_json::Value;

#[derive(Clone, Debug)]
pub(super) struct Rule {
    test: Test,
    pub(super) to: Arc<str>,
}

#[derive(Clone, Debug)]
enum Test {
    Always,
    Equal(Vec<String>, Value),
    Above(Vec<String>, i64),
}

/// Compiles a set of rules, whole or not at all.
pub(super) fn compile(rules: &[RoutingRule]) -> Result<Vec<Rule>> {
    let compiled = rules.iter().zip(1..).map(|(rule, number)| {
        let test = parse(rule.condition.as_str()).map_err(|column| {
            let message =
                format!("rule {number} does not compile at column {column}; write `path == literal`");
            let fault = BridgeFault::new(BridgeReason::InvalidRule).with_rule(number).with_column(column);
            Error::invalid("bridge.rules", message).with_detail(fault)
        })?;
        Ok(Rule { test, to: rule.to.as_str().into() })
    });
    compiled.collect()
}

/// The test, or the column (from 1) of what is no condition.
fn parse(text: &str) -> Result<Test, usize> {
    if text == "true" {
        return Ok(Test::Always);
    }
    let (at, operator) = [" == ", " > "]
        .into_iter()
        .find_map(|operator| text.find(operator).map(|at| (at, operator)))
        .ok_or(text.chars().count() + 1)?;
    let path: Vec<String> = text[..at].split('.').map(str::to_owned).collect();
    if !matches!(path[0].as_str(), "payload" | "headers" | "metadata") || path.len() < 2 {
        return Err(1);
    }
    let literal = &text[at + operator.len()..];
    let quoted = literal.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    let number = literal.parse::<i64>().ok();
    match (operator, quoted, number) {
        (" == ", Some(text), _) => Ok(Test::Equal(path, text.into())),
        (" == ", None, Some(number)) => Ok(Test::Equal(path, number.into())),
        (" > ", None, Some(number)) => Ok(Test::Above(path, number)),
        _ => Err(text[..at].chars().count() + operator.len() + 1),
    }
}

/// The first rule that matches, with its number (from 1), or the number of the rule that failed and why.
pub(super) fn first<'a>(
    rules: &'a [Rule],
    message: &BridgeMessage,
    payload: &Value,
) -> Result<Option<(usize, &'a Rule)>, (usize, String)> {
    for (rule, number) in rules.iter().zip(1..) {
        let matches = match &rule.test {
            Test::Always => Ok(true),
            Test::Equal(path, due) => match field(path, message, payload) {
                Ok(Some(value)) if value.is_string() != due.is_string() => Err("the types differ".to_owned()),
                found => found.map(|value| value.as_ref() == Some(due)),
            },
            Test::Above(path, least) => match field(path, message, payload) {
                Ok(Some(value)) => value.as_i64().map(|value| value > *least).ok_or("no number".to_owned()),
                found => found.map(|_| false),
            },
        };
        if matches.map_err(|why| (number, format!("rule {number} cannot be decided: {why}")))? {
            return Ok(Some((number, rule)));
        }
    }
    Ok(None)
}

/// A field; `None` = it is not there.
fn field(path: &[String], message: &BridgeMessage, payload: &Value) -> Result<Option<Value>, String> {
    let (root, rest) = (path[0].as_str(), &path[1..]);
    let whole = match root {
        "payload" if !payload.is_object() => return Err("the payload is no object".to_owned()),
        "payload" => payload.clone(),
        "metadata" => Value::Object(message.metadata.clone()),
        _ => {
            let value = message.header(&rest[0]).map(|value| String::from_utf8_lossy(value).into_owned());
            return Ok(value.map(Value::from));
        }
    };
    Ok(rest.iter().try_fold(&whole, |value, name| value.get(name)).cloned())
}
