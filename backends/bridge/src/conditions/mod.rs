//! Rules as they are applied: compiled whole, decided for one message after the other.
//!
//! ```text
//!  Vec<RoutingRule> ─► guard: size, names, functions ─► paths: fields to slots ─► RuleSet    whole, or InvalidInput naming rule and column
//!  message ─► view: one pass over the payload, only the slots' fields kept ─► rule 1, rule 2, .. ─► Verdict
//! ```
//!
//! `a == 'x'` and `a != 'x'`, with a field and a constant on either side, are compared without CEL's interpreter, by CEL's own
//! equality; everything else is CEL over the slots.
//!
//! # What a condition sees
//! `payload` is the JSON value (not with `format = "raw"`). `headers` is a map from a header's name, as it is written, to the value of
//! the first of that name; `metadata` is the message's metadata; `key` the key; `topic` what the metadata calls `topic`. Bytes
//! that are UTF-8 are text, others are CEL bytes; an absent key or topic is a field that is not there. An element beyond the
//! end of a list is not there either.

mod guard;
mod parse;
mod paths;
mod scan;
mod slots;
mod view;

use std::sync::{Arc, LazyLock};

use cel::common::ast::{Expr, IdedExpr, LiteralValue, operators};
use cel::common::types::CelBool;
use cel::{Context, Env, ExecutionError, Value};
use onex_spi::bridge::{BridgeMessage, MessageFormat, RoutingRule, Unmatched};
use onex_spi::{Error, Result};

use self::paths::Paths;
use self::slots::Slot;
use self::view::{Fields, Reader, Unreadable};
use crate::error;

/// The language; shared, because to build it costs more than to evaluate a hundred conditions.
static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib().with_optional_support(false)));

/// Rules with what happens to messages that none of them takes; swapped whole (B4).
#[derive(Debug)]
pub(crate) struct RuleSet {
    rules: Vec<Rule>,
    paths: Paths,
    reader: Reader,
    policy: Policy,
}

#[derive(Debug)]
struct Rule {
    condition: Condition,
    to: Arc<str>,
}

#[derive(Debug)]
enum Condition {
    Equals { slot: usize, literal: LiteralValue, negated: bool },
    Cel(IdedExpr),
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

/// What one decision leaves for the next to reuse: room for slots.
#[derive(Debug, Default)]
pub(crate) struct Scratch(Vec<Slot<'static>>);

impl RuleSet {
    /// Compiles rules, all or none.
    ///
    /// # Errors
    /// `InvalidInput` naming the rule and the column.
    pub(crate) fn compile(rules: &[RoutingRule], policy: &Policy) -> Result<Self> {
        let mut exprs = Vec::with_capacity(rules.len());
        for (place, rule) in rules.iter().enumerate() {
            exprs.push(guard::compile(place + 1, rule.condition.as_str(), policy)?);
        }
        let paths = Paths::of(exprs.iter());
        let reader = Reader::new(&paths, policy.format);
        // One pointer for each route, however many rules lead to it: groups are found by pointer.
        let mut routes: Vec<Arc<str>> = policy.default_route.iter().cloned().collect();
        let rules = rules
            .iter()
            .zip(exprs)
            .map(|(rule, mut expr)| {
                paths.rewrite(&mut expr);
                let known = routes.iter().find(|to| ***to == *rule.to).cloned();
                let to = known.unwrap_or_else(|| {
                    let to: Arc<str> = rule.to.as_str().into();
                    routes.push(to.clone());
                    to
                });
                Rule { condition: Condition::new(expr), to }
            })
            .collect();
        Ok(Self { rules, paths, reader, policy: policy.clone() })
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Every route with its rule, from 1; 0 = the default route.
    pub(crate) fn routes(&self) -> impl Iterator<Item = (usize, &Arc<str>)> {
        let default = self.policy.default_route.iter().map(|to| (0, to));
        default.chain(self.rules.iter().enumerate().map(|(place, rule)| (place + 1, &rule.to)))
    }

    /// Finds the way of a message.
    pub(crate) fn decide(&self, message: &BridgeMessage, scratch: &mut Scratch) -> Verdict<'_> {
        let mut slots: Vec<Slot<'_>> = std::mem::take(&mut scratch.0);
        let verdict = self.decide_with(message, &mut slots);
        slots.clear();
        // The vector is empty, so nothing is mapped; its room is all that outlives the message.
        scratch.0 = slots.into_iter().map(|_| Slot::Absent).collect();
        verdict
    }

    fn decide_with<'m>(&self, message: &'m BridgeMessage, slots: &mut Vec<Slot<'m>>) -> Verdict<'_> {
        let not_kept = match self.reader.read(message, slots) {
            Ok(()) => None,
            Err(Unreadable::NotJson(why)) => return Verdict::Undecodable(error::not_json(why)),
            Err(Unreadable::NotKept(why)) => Some(why),
        };
        let fields = Fields(slots);
        // Made at the first rule that needs it, and shared by the others.
        let mut context = None;
        for (place, rule) in (1..).zip(&self.rules) {
            let matched = match &rule.condition {
                _ if not_kept.is_some() => Err(not_kept.clone().unwrap_or_default()),
                Condition::Equals { slot, literal, negated } => {
                    equals(&self.paths, &fields, *slot, literal, *negated)
                }
                Condition::Cel(expr) => {
                    let context = context.get_or_insert_with(|| {
                        let mut context = Context::with_env(ENV.clone());
                        context.set_variable_resolver(&fields);
                        context
                    });
                    evaluate(&self.paths, &fields, expr, context)
                }
            };
            match matched {
                Ok(false) => {}
                Ok(true) => return Verdict::Route { to: &rule.to, rule: place },
                Err(why) => {
                    return Verdict::RuleError { rule: place, error: error::rule(place as usize, why) };
                }
            }
        }
        match (&self.policy.unmatched, &self.policy.default_route) {
            (Unmatched::Drop, _) => Verdict::Drop,
            (Unmatched::DefaultRoute, Some(to)) => Verdict::Route { to, rule: 0 },
            _ => Verdict::NoRoute,
        }
    }
}

impl Condition {
    fn new(expr: IdedExpr) -> Self {
        Self::equality(&expr).unwrap_or(Self::Cel(expr))
    }

    fn equality(expr: &IdedExpr) -> Option<Self> {
        let Expr::Call(call) = &expr.expr else { return None };
        let negated = match call.func_name.as_str() {
            operators::EQUALS => false,
            operators::NOT_EQUALS => true,
            _ => return None,
        };
        let [left, right] = call.args.as_slice() else { return None };
        let (name, literal) = match (&left.expr, &right.expr) {
            (Expr::Ident(name), Expr::Literal(literal)) | (Expr::Literal(literal), Expr::Ident(name)) => {
                (name, literal)
            }
            _ => return None,
        };
        match paths::slot(name)? {
            (slot, false) => Some(Self::Equals { slot, literal: literal.clone(), negated }),
            (_, true) => None,
        }
    }
}

/// Compares a field with a constant; a field that is not there does not match.
fn equals(
    paths: &Paths,
    fields: &Fields<'_, '_>,
    slot: usize,
    literal: &LiteralValue,
    negated: bool,
) -> Result<bool, String> {
    match (&fields.0[slot], literal) {
        (Slot::Absent | Slot::Missing, _) => Ok(false),
        (Slot::NoObject, _) => Err(no_object(paths, slot)),
        (Slot::Text(text), LiteralValue::String(literal)) => Ok((text.inner() == literal.inner()) != negated),
        (field, literal) => {
            let equal = field.value().is_some_and(|value| value.equals(literal.to_val().as_ref()));
            Ok(equal != negated)
        }
    }
}

/// Evaluates a condition; what is not there makes it not match, any other fault is the rule's.
fn evaluate(
    paths: &Paths,
    fields: &Fields<'_, '_>,
    expr: &IdedExpr,
    context: &Context<'_, '_>,
) -> Result<bool, String> {
    let error = match Value::resolve_val(expr, context) {
        Ok(value) => {
            let name = || format!("it is of type {}, not true or false", value.get_type().name());
            return value.downcast_ref::<CelBool>().map(|value| *value.inner()).ok_or_else(name);
        }
        Err(error) => error,
    };
    match &error {
        ExecutionError::NoSuchKey(_) | ExecutionError::IndexOutOfBounds(_) => Ok(false),
        ExecutionError::UndeclaredReference(name) => match paths::slot(name) {
            Some((slot, _)) if matches!(fields.0.get(slot), Some(Slot::NoObject)) => {
                Err(no_object(paths, slot))
            }
            Some(_) => Ok(false),
            None => Err(error.to_string()),
        },
        // The others quote values of the message, which may be anybody's secret.
        ExecutionError::NoSuchOverload(overload) => Err(overload.to_string()),
        ExecutionError::UnexpectedType { .. } => Err(error.to_string()),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            Err("it divides by zero".to_owned())
        }
        ExecutionError::Overflow(..) => Err("a number is out of range".to_owned()),
        ExecutionError::UnsupportedBinaryOperator(operator, ..) => {
            Err(format!("`{operator}` does not go with these values"))
        }
        ExecutionError::FunctionError { function, .. } => Err(format!("`{function}` fails for these values")),
        _ => Err("its values do not go together".to_owned()),
    }
}

fn no_object(paths: &Paths, slot: usize) -> String {
    let path = paths.get(slot).map(ToString::to_string).unwrap_or_default();
    match path.rsplit_once('.') {
        Some((parent, _)) => format!("`{path}` cannot be read: `{parent}`, or what it lies in, is no object"),
        None => format!("`{path}` cannot be read"),
    }
}

#[cfg(test)]
mod tests;
