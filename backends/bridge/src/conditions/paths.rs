//! Which fields a set of rules reads, and rules rewritten to read them from numbered slots.
//!
//! ```text
//!  payload.event == 'a' && headers['x'] == 'b'      ─►  @0 == 'a' && @1 == 'b'      slots: 0 = payload.event, 1 = headers.x
//!  has(payload.user.id)                             ─►  @?0                          slots: 0 = payload.user.id
//!  payload.user.id == 7 || size(payload.user) > 2   ─►  @0.id == 7 || size(@0) > 2  slots: 0 = payload.user
//! ```
//!
//! A message is then read once for all rules, and of its payload only what the slots name is kept. Where a rule needs the whole
//! payload, the slot is the payload: the same way, only slower.

use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators};

use super::guard::NAMES;

/// What a condition can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Root {
    Payload,
    Headers,
    Metadata,
    Key,
    Topic,
}

impl Root {
    fn of(name: &str) -> Option<Self> {
        let place = NAMES.iter().position(|known| *known == name)?;
        [Self::Payload, Self::Headers, Self::Metadata, Self::Key, Self::Topic].get(place).copied()
    }

    pub(super) fn name(self) -> &'static str {
        NAMES[self as usize]
    }
}

/// A field of a message: a root and the names below it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Path {
    pub(super) root: Root,
    pub(super) names: Vec<String>,
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.root.name())?;
        self.names.iter().try_for_each(|name| write!(f, ".{name}"))
    }
}

impl Path {
    fn is_within(&self, other: &Self) -> bool {
        self.root == other.root && self.names.starts_with(&other.names)
    }
}

/// The fields that a set of rules reads; none lies within another.
#[derive(Debug, Default)]
pub(super) struct Paths(Vec<Path>);

impl Paths {
    pub(super) fn of<'a>(exprs: impl Iterator<Item = &'a IdedExpr>) -> Self {
        let mut found = Vec::new();
        exprs.for_each(|expr| collect(expr, &mut found));
        // Sorted, so that a path comes right before all that lie within it.
        found.sort();
        found.dedup_by(|later, kept| later.is_within(kept));
        Self(found)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Path> {
        self.0.iter()
    }

    pub(super) fn get(&self, slot: usize) -> Option<&Path> {
        self.0.get(slot)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Puts slots in the place of the fields.
    pub(super) fn rewrite(&self, expr: &mut IdedExpr) {
        if let Some((path, test)) = access(expr)
            && let Some((slot, kept)) = self.0.iter().enumerate().find(|(_, kept)| path.is_within(kept))
        {
            let below = path.names.len() - kept.names.len();
            if test && below == 0 {
                expr.expr = Expr::Ident(format!("@?{slot}"));
                return;
            }
            // What lies below the slot is left to CEL: one select a name, the last one perhaps a test.
            let mut value = Expr::Ident(format!("@{slot}"));
            for (place, name) in path.names[kept.names.len()..].iter().enumerate() {
                let operand = Box::new(IdedExpr { id: expr.id, expr: value });
                value = Expr::Select(SelectExpr {
                    operand,
                    field: name.clone(),
                    test: test && place + 1 == below,
                });
            }
            expr.expr = value;
            return;
        }
        children_mut(expr).into_iter().for_each(|child| self.rewrite(child));
    }
}

/// The number of a slot and whether only its presence is asked, from the name that [`Paths::rewrite`] gave it.
pub(super) fn slot(name: &str) -> Option<(usize, bool)> {
    let rest = name.strip_prefix('@')?;
    let (digits, presence) = match rest.strip_prefix('?') {
        Some(digits) => (digits, true),
        None => (rest, false),
    };
    digits.parse().ok().map(|slot| (slot, presence))
}

fn collect(expr: &IdedExpr, into: &mut Vec<Path>) {
    match access(expr) {
        Some((path, _)) => into.push(path),
        None => children(expr).into_iter().for_each(|child| collect(child, into)),
    }
}

/// The field that an expression is, and whether only its presence is asked.
fn access(expr: &IdedExpr) -> Option<(Path, bool)> {
    match &expr.expr {
        Expr::Select(select) if select.test => {
            let mut path = chain(&select.operand)?;
            path.names.push(select.field.clone());
            Some((path, true))
        }
        _ => chain(expr).map(|path| (path, false)),
    }
}

fn chain(expr: &IdedExpr) -> Option<Path> {
    match &expr.expr {
        Expr::Ident(name) => Root::of(name).map(|root| Path { root, names: Vec::new() }),
        Expr::Select(select) if !select.test => {
            let mut path = chain(&select.operand)?;
            path.names.push(select.field.clone());
            Some(path)
        }
        Expr::Call(call) if call.func_name == operators::INDEX => match call.args.as_slice() {
            [operand, IdedExpr { expr: Expr::Literal(LiteralValue::String(name)), .. }] => {
                let mut path = chain(operand)?;
                path.names.push(name.inner().to_owned());
                Some(path)
            }
            _ => None,
        },
        _ => None,
    }
}

fn children(expr: &IdedExpr) -> Vec<&IdedExpr> {
    match &expr.expr {
        Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) => Vec::new(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Call(call) => call.target.iter().map(|target| &**target).chain(&call.args).collect(),
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(|entry| entry_children(&entry.expr)).collect(),
        Expr::Struct(made) => made.entries.iter().flat_map(|entry| entry_children(&entry.expr)).collect(),
        Expr::Comprehension(over) => {
            vec![&over.iter_range, &over.accu_init, &over.loop_cond, &over.loop_step, &over.result]
        }
    }
}

fn entry_children(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
        EntryExpr::StructField(field) => vec![&field.value],
    }
}

fn children_mut(expr: &mut IdedExpr) -> Vec<&mut IdedExpr> {
    match &mut expr.expr {
        Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) => Vec::new(),
        Expr::Select(select) => vec![&mut select.operand],
        Expr::Call(call) => {
            call.target.iter_mut().map(|target| &mut **target).chain(&mut call.args).collect()
        }
        Expr::List(list) => list.elements.iter_mut().collect(),
        Expr::Map(map) => {
            map.entries.iter_mut().flat_map(|entry| entry_children_mut(&mut entry.expr)).collect()
        }
        Expr::Struct(made) => {
            made.entries.iter_mut().flat_map(|entry| entry_children_mut(&mut entry.expr)).collect()
        }
        Expr::Comprehension(over) => {
            let over = &mut **over;
            vec![
                &mut over.iter_range,
                &mut over.accu_init,
                &mut over.loop_cond,
                &mut over.loop_step,
                &mut over.result,
            ]
        }
    }
}

fn entry_children_mut(entry: &mut EntryExpr) -> Vec<&mut IdedExpr> {
    match entry {
        EntryExpr::MapEntry(entry) => vec![&mut entry.key, &mut entry.value],
        EntryExpr::StructField(field) => vec![&mut field.value],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(conditions: &[&str]) -> Vec<String> {
        let exprs: Vec<_> = conditions
            .iter()
            .map(|condition| super::super::ENV.compile(condition).expect("CEL").expression().clone())
            .collect();
        Paths::of(exprs.iter()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_what_is_read_has_a_slot_and_the_outer_field_wins() {
        assert_eq!(paths(&["payload.a == 'x' && payload['b'].c > 1"]), ["payload.a", "payload.b.c"]);
        assert_eq!(
            paths(&["payload.a.b == 1", "has(payload.a.c)", "payload.a.b == 2"]),
            ["payload.a.b", "payload.a.c"]
        );
        assert_eq!(paths(&["payload.a.b == 1", "size(payload.a) > 1"]), ["payload.a"]);
        assert_eq!(paths(&["payload.a == 1", "payload[key] == 1"]), ["payload", "key"]);
        assert_eq!(paths(&["payload.a[0] == 1 || payload.ab == 2"]), ["payload.a", "payload.ab"]);
        assert_eq!(
            paths(&["headers['x'] == 'a' && metadata.m == 1 && topic == 't'"]),
            ["headers.x", "metadata.m", "topic"]
        );
        assert_eq!(paths(&["payload.list.exists(x, x.y == payload.z)"]), ["payload.list", "payload.z"]);
    }
}
