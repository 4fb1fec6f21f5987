//! What a condition may be: everything that can be refused is refused here, before a message is seen.

use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::{ParseErrors, Program};
use onex_spi::Error;
use onex_spi::bridge::{BridgeFault, BridgeReason, MessageFormat};

use super::Policy;

/// The most bytes of a condition.
const MOST_BYTES: usize = 4096;

/// The most nodes of a condition's tree.
const MOST_NODES: usize = 256;

/// What a condition may name.
pub(super) const NAMES: [&str; 5] = ["payload", "headers", "metadata", "key", "topic"];

/// The functions that a condition may call, beside operators and `has`.
const FUNCTIONS: [&str; 11] =
    ["bool", "bytes", "contains", "double", "dyn", "endsWith", "int", "size", "startsWith", "string", "uint"];

/// Operators and functions that never give true or false.
const NOT_BOOL: [&str; 12] = [
    operators::ADD,
    operators::SUBSTRACT,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::NEGATE,
    "size",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
];

/// Parses the condition of a rule (from 1) and refuses what must not be applied.
///
/// # Errors
/// `InvalidInput` naming the rule and, where there is one, the column.
pub(super) fn compile(rule: usize, condition: &str, policy: &Policy) -> Result<IdedExpr, Error> {
    if condition.trim().is_empty() {
        return Err(refused(rule, None, "the condition is empty; write `true` for every message"));
    }
    if condition.len() > MOST_BYTES {
        let bytes = condition.len();
        return Err(refused(
            rule,
            None,
            &format!("the condition has {bytes} bytes, more than {MOST_BYTES}; split the rule"),
        ));
    }
    let program = super::ENV.compile(condition).map_err(|errors| syntax(rule, condition, &errors))?;
    let mut walk = Walk { rule, program: &program, policy, nodes: 0, variables: Vec::new() };
    walk.check(program.expression())?;
    if let Some(what) = never_bool(program.expression()) {
        return Err(
            walk.refused(program.expression(), &format!("the condition is {what}, not true or false"))
        );
    }
    Ok(program.expression().clone())
}

fn syntax(rule: usize, condition: &str, errors: &ParseErrors) -> Error {
    let Some(first) = errors.errors.first() else {
        return refused(rule, None, "the condition is no CEL expression");
    };
    // The parser counts lines and columns from 1; a column here is one of the whole condition.
    let (line, column) = first.pos;
    let before: usize = condition
        .split_inclusive('\n')
        .take(usize::try_from(line).unwrap_or_default().saturating_sub(1))
        .map(|line| line.chars().count())
        .sum();
    let column = before + usize::try_from(column).unwrap_or_default().max(1);
    let what = first.msg.lines().next().unwrap_or_default();
    refused(rule, Some(column), what)
}

fn refused(rule: usize, column: Option<usize>, what: &str) -> Error {
    let fault = BridgeFault::new(BridgeReason::InvalidRule).with_rule(rule);
    let (place, fault) = match column {
        Some(column) => (format!("rule {rule}, column {column}"), fault.with_column(column)),
        None => (format!("rule {rule}"), fault),
    };
    Error::invalid("bridge.rules", format!("{place}: {what}")).with_detail(fault)
}

struct Walk<'a> {
    rule: usize,
    program: &'a Program,
    policy: &'a Policy,
    nodes: usize,
    /// The variables of the comprehensions around.
    variables: Vec<&'a str>,
}

impl<'a> Walk<'a> {
    fn refused(&self, at: &IdedExpr, what: &str) -> Error {
        let info = self.program.source_info();
        // The parser counts bytes here.
        let column = info.offset_for(at.id).and_then(|(start, _)| info.source.get(..start as usize));
        refused(self.rule, column.map(|before| before.chars().count() + 1), what)
    }

    fn check(&mut self, expr: &'a IdedExpr) -> Result<(), Error> {
        self.nodes += 1;
        if self.nodes > MOST_NODES {
            return Err(refused(
                self.rule,
                None,
                &format!("the condition has more than {MOST_NODES} parts; split the rule"),
            ));
        }
        match &expr.expr {
            Expr::Unspecified => Err(self.refused(expr, "the condition has an empty part")),
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.name(expr, name),
            Expr::Select(select) => self.check(&select.operand),
            Expr::Call(call) => {
                let known = FUNCTIONS.contains(&call.func_name.as_str());
                // Operators have names that no source can spell, such as `_==_` and `@in`.
                if !known && call.func_name.starts_with(|first: char| first.is_ascii_alphabetic()) {
                    let (name, list) = (&call.func_name, FUNCTIONS.join("`, `"));
                    return Err(self.refused(
                        expr,
                        &format!("there is no function `{name}`; known are `has`, `{list}`"),
                    ));
                }
                call.target.iter().try_for_each(|target| self.check(target))?;
                call.args.iter().try_for_each(|arg| self.check(arg))
            }
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.check(element)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => self.check(&entry.key).and_then(|()| self.check(&entry.value)),
                EntryExpr::StructField(field) => self.check(&field.value),
            }),
            Expr::Struct(_) => Err(self.refused(expr, "conditions make no messages; compare field by field")),
            Expr::Comprehension(over) => {
                if !self.policy.comprehensions {
                    let what = "`all`, `exists`, `exists_one`, `map` and `filter` have no bounded cost; set comprehensions = true to allow them";
                    return Err(self.refused(expr, what));
                }
                self.check(&over.iter_range)?;
                self.check(&over.accu_init)?;
                let own =
                    [Some(over.iter_var.as_str()), over.iter_var2.as_deref(), Some(over.accu_var.as_str())];
                for name in own.into_iter().flatten() {
                    if NAMES.contains(&name) {
                        return Err(self.refused(
                            expr,
                            &format!("the variable `{name}` hides a name of the message; choose another"),
                        ));
                    }
                }
                let around = self.variables.len();
                self.variables.extend(own.into_iter().flatten());
                for part in [&over.loop_cond, &over.loop_step, &over.result] {
                    self.check(part)?;
                }
                self.variables.truncate(around);
                Ok(())
            }
        }
    }

    fn name(&self, expr: &IdedExpr, name: &str) -> Result<(), Error> {
        if name == "payload" && self.policy.format == MessageFormat::Raw {
            return Err(self.refused(
                expr,
                "format = \"raw\" has no `payload` to read; use `headers`, `metadata`, `key` or `topic`",
            ));
        }
        if NAMES.contains(&name) || self.variables.contains(&name) {
            return Ok(());
        }
        let names = NAMES.join("`, `");
        Err(self.refused(expr, &format!("there is no `{name}`; a condition may name `{names}`")))
    }
}

/// What an expression is that can never be true or false.
fn never_bool(expr: &IdedExpr) -> Option<&'static str> {
    match &expr.expr {
        Expr::Literal(LiteralValue::Boolean(_)) => None,
        Expr::Literal(_) => Some("a constant"),
        Expr::List(_) => Some("a list"),
        Expr::Map(_) => Some("a map"),
        Expr::Call(call) if NOT_BOOL.contains(&call.func_name.as_str()) => Some("a value"),
        Expr::Ident(name) if name == "headers" || name == "metadata" => Some("a map"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::policy;
    use super::*;

    fn refusal(condition: &str, policy: &Policy) -> (Option<usize>, String) {
        let error = compile(2, condition, policy).map(|_| ()).expect_err(condition);
        let fault = *error.bridge().expect("the fault of a rule");
        assert_eq!((fault.reason, fault.rule), (BridgeReason::InvalidRule, Some(2)), "{error}");
        let place = fault.column.map_or("rule 2: ".to_owned(), |column| format!("rule 2, column {column}: "));
        assert!(error.message().starts_with(&place), "{error}");
        (fault.column, error.message().to_owned())
    }

    #[test]
    fn what_must_not_be_applied_is_refused_at_its_place() {
        let long = format!("payload.a == '{}'", "x".repeat(MOST_BYTES));
        let wide = vec!["payload.a == 1"; 80].join(" || ");
        let table: &[(&str, Option<usize>, &str)] = &[
            ("", None, "empty"),
            ("  ", None, "empty"),
            (&long, None, "4096"),
            (&wide, None, "256 parts"),
            ("payload.a ==", Some(13), "Syntax error"),
            ("payload.a == 'x", Some(14), "Syntax error"),
            ("true &&\n payload.a =", Some(20), "Syntax error"),
            ("payload.a == 'ä' && foo == 1", Some(21), "there is no `foo`"),
            ("payload.a == 'ä' &&", Some(20), "Syntax error"),
            ("type(payload.a) == string", Some(5), "no function `type`"),
            ("shout(payload.a)", Some(6), "no function `shout`"),
            ("payload.a.matches('x')", Some(18), "no function `matches`"),
            ("payload.a.exists(x, x == 1)", Some(17), "comprehensions = true"),
            ("Foo{a: 1}", None, "make no messages"),
            ("1", Some(1), "constant"),
            ("'yes'", Some(1), "constant"),
            ("[true]", Some(1), "a list"),
            ("{'a': true}", Some(1), "a map"),
            ("payload.a + 1", Some(11), "a value"),
            ("size(payload)", Some(5), "a value"),
            ("headers", Some(1), "a map"),
        ];
        for (condition, column, text) in table {
            let (at, message) = refusal(condition, &policy(MessageFormat::Json));
            assert!(message.contains(text), "{condition}: {message}");
            if let Some(column) = column {
                assert_eq!(at, Some(*column), "{condition}: {message}");
            }
        }
        let (at, message) = refusal("key == 'a' && payload.a == 1", &policy(MessageFormat::Raw));
        assert_eq!((at, message.contains("raw")), (Some(15), true), "{message}");
        let open = Policy { comprehensions: true, ..policy(MessageFormat::Json) };
        let (_, message) = refusal("payload.a.exists(payload, payload == 1)", &open);
        assert!(message.contains("hides"), "{message}");
        compile(1, "payload.a.exists(x, x == 1)", &open).expect("allowed");
    }

    #[test]
    fn every_function_that_is_offered_is_there() {
        for condition in [
            "bool('true')",
            "bytes('a') == b'a'",
            "'ab'.contains('a')",
            "double(1) == 1.0",
            "dyn(true)",
            "'ab'.endsWith('b')",
            "int('7') == 7",
            "size('ab') == 2 && size([1]) == 1 && size({'a': 1}) == 1",
            "'ab'.startsWith('a')",
            "string(7) == '7'",
            "uint('7') == 7u",
            "'a' in ['a'] && 'a' in {'a': 1}",
        ] {
            let expr = compile(1, condition, &policy(MessageFormat::Json)).expect(condition);
            let context = cel::Context::with_env(super::super::ENV.clone());
            let value = cel::Value::resolve(&expr, &context).expect(condition);
            assert_eq!(value, cel::Value::Bool(true), "{condition}");
        }
    }
}
