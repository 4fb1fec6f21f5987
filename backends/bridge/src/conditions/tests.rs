use onex_spi::bridge::{BridgeMessage, MessageFormat, MessageId, RoutingRule, Unmatched};
use onex_spi::kafka::Header;

use super::slots::Node;
use super::*;

pub(super) fn policy(format: MessageFormat) -> Policy {
    Policy { format, unmatched: Unmatched::DefaultRoute, default_route: None, comprehensions: false }
}

fn message(payload: impl Into<bytes::Bytes>) -> BridgeMessage {
    BridgeMessage::new(MessageId::from_u128(1), payload)
}

/// `yes`, `no`, or the words of the fault.
fn decide(condition: &str, message: &BridgeMessage, policy: &Policy) -> String {
    let rules = RuleSet::compile(&[RoutingRule::new(condition, "to")], policy)
        .unwrap_or_else(|error| panic!("{error}"));
    let mut scratch = Scratch::default();
    // Twice, because the second one reuses what the first one left.
    let told = |verdict| match verdict {
        Verdict::Route { rule: 1, .. } => "yes".to_owned(),
        Verdict::NoRoute => "no".to_owned(),
        Verdict::RuleError { rule: 1, error } => format!("rule: {}", error.message()),
        Verdict::Undecodable(error) => format!("json: {}", error.message()),
        other => format!("{other:?}"),
    };
    let first = told(rules.decide(message, &mut scratch));
    assert_eq!(told(rules.decide(message, &mut scratch)), first, "{condition}");
    first
}

const PAYLOAD: &str = r#"{"s":"a","esc":"a\u0062","n":5,"f":5.0,"big":18446744073709551615,"t":true,"nul":null,
    "o":{"p":{"q":"deep"},"l":[1,{"x":2}]},"l":["a","b"],"dup":1,"dup":2,"o2":{"a":1},"o2":{"b":2},"huge":1e999,"lone":"\ud800"}"#;

#[test]
fn a_condition_means_what_cel_says_with_and_without_the_interpreter() {
    let table = [
        ("payload.s == 'a'", "yes"),
        ("'a' == payload.s", "yes"),
        ("payload.s == 'b'", "no"),
        ("payload.s != 'b'", "yes"),
        ("payload.esc == 'ab'", "yes"),
        ("payload.s == 5", "no"),
        ("payload.n == 5", "yes"),
        ("payload.n == 5.0", "yes"),
        ("payload.n == 5u", "yes"),
        ("payload.f == 5", "yes"),
        ("payload.big == 18446744073709551615u", "yes"),
        ("payload.t == true", "yes"),
        ("payload.t", "yes"),
        ("payload.nul == null", "yes"),
        ("payload.nul == 'a'", "no"),
        ("payload.missing == 'a'", "no"),
        ("payload.missing != 'a'", "no"),
        ("payload.missing == 'a' || true", "yes"),
        ("!(payload.missing == 'a')", "no"),
        ("payload.o.p.q == 'deep'", "yes"),
        ("payload['o']['p'].q == 'deep'", "yes"),
        ("payload.o.none.q == 'deep'", "no"),
        ("payload.none.none.q == 'deep'", "no"),
        ("payload.s.q == 'deep'", "rule"),
        ("payload.s.q.r == 'deep'", "rule"),
        ("payload.nul.q == 'deep'", "rule"),
        ("payload.l.q == 'deep'", "rule"),
        ("has(payload.s)", "yes"),
        ("has(payload.nul)", "yes"),
        ("has(payload.missing)", "no"),
        ("!has(payload.missing)", "yes"),
        ("!has(payload.none.missing)", "no"),
        ("has(payload.s.q)", "rule"),
        ("payload.l[0] == 'a'", "yes"),
        ("payload.l[7] == 'a'", "no"),
        ("'b' in payload.l && size(payload.l) == 2", "yes"),
        ("payload.l == ['a', 'b']", "yes"),
        ("payload.o.l[1].x == 2", "yes"),
        ("size(payload.o) == 2 && payload.o.p.q == 'deep'", "yes"),
        ("payload.o2.b == 2 && !has(payload.o2.a)", "yes"),
        ("payload.dup == 2", "yes"),
        ("payload.n > 4 && payload.n < 5.5", "yes"),
        ("payload.s > 4", "rule"),
        ("payload.s + 1 == 2", "rule"),
        ("payload.n / 0 == 1", "rule"),
        ("payload.n", "rule"),
        ("payload.s.startsWith('a')", "yes"),
        ("payload.huge == 1", "rule"),
        ("payload.lone == 'a'", "rule"),
    ];
    for (condition, due) in table {
        let seen = decide(condition, &message(PAYLOAD), &policy(MessageFormat::Json));
        assert!(seen == due || due == "rule" && seen.starts_with("rule: rule 1 "), "{condition}: {seen}");
    }
}

#[test]
fn a_condition_that_needs_the_whole_payload_gets_it() {
    let small = message(r#"{"s":"a","o":{"p":{"q":"deep"}},"which":"s","l":[{"x":1},{"x":2}]}"#);
    let open = Policy { comprehensions: true, ..policy(MessageFormat::Json) };
    let table = [
        ("payload[payload.which] == 'a'", "yes"),
        ("payload[payload.none] == 'a'", "no"),
        ("size(payload) == 4 && payload.o.p.q == 'deep'", "yes"),
        ("size(payload) == 4 && has(payload.o.p)", "yes"),
        ("size(payload) == 4 && has(payload.o.q)", "no"),
        ("'s' in payload", "yes"),
        ("payload.l.exists(e, e.x == 2)", "yes"),
        ("payload.l.all(e, e.x == 2)", "no"),
        ("payload.l.exists(e, e.x == 3)", "no"),
        ("payload.o == {'p': {'q': 'deep'}}", "yes"),
    ];
    for (condition, due) in table {
        assert_eq!(decide(condition, &small, &open), due, "{condition}");
    }
}

#[test]
fn what_is_no_object_is_the_rules_fault_and_what_is_no_json_is_not() {
    let json = policy(MessageFormat::Json);
    for payload in ["[1,2]", "7", "\"x\"", "null", "true"] {
        for condition in ["payload.s == 'a'", "payload.s > 4", "has(payload.s)"] {
            let seen = decide(condition, &message(payload), &json);
            assert!(seen.starts_with("rule: rule 1 "), "{payload} {condition}: {seen}");
        }
        assert_eq!(decide("true", &message(payload), &json), "yes", "{payload}");
        assert_eq!(decide("false", &message(payload), &json), "no", "{payload}");
    }
    let broken: [&[u8]; 12] = [
        b"",
        b"{\"a\":",
        b"{\"a\":1} x",
        b"{'a':1}",
        b"{\"a\":01}",
        b"{\"a\":\"\xff\"}",
        b"{\"\xff\":1}",
        b"{\"a\":\"\\x\"}",
        b"{\"a\":\"\x01\"}",
        b"{\"a\":\"\\u12\"}",
        b"\xef\xbb\xbf{}",
        b"nul",
    ];
    for payload in broken {
        // Whether a rule reads the faulty field, another one, or none.
        for condition in ["payload.a == 1", "payload.b == 1", "key == 'a'", "size(payload) == 1"] {
            let seen = decide(condition, &message(payload), &json);
            assert!(seen.starts_with("json: "), "{:?} {condition}: {seen}", String::from_utf8_lossy(payload));
        }
    }
}

#[test]
fn depth_is_the_rules_fault_only_where_it_is_read() {
    let deep = format!(r#"{{"a":1,"d":{}{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let json = policy(MessageFormat::Json);
    assert_eq!(decide("payload.a == 1", &message(deep.clone()), &json), "yes");
    let seen = decide("size(payload.d) == 1", &message(deep), &json);
    assert!(seen.starts_with("rule: rule 1 "), "{seen}");
}

#[test]
fn headers_metadata_key_and_topic_are_read_from_the_message() {
    let message = message("\u{0}")
        .with_key("k")
        .with_header(Header::new("x", "first"))
        .with_header(Header::new("x", "second"))
        .with_header(Header::new("raw", vec![0xff]))
        .with_header(Header::null("none"))
        .with_metadata("topic", "t")
        .with_metadata("m", serde_json::json!({"n": {"o": 7}}));
    let raw = policy(MessageFormat::Raw);
    let table = [
        ("key == 'k'", "yes"),
        ("topic == 't'", "yes"),
        ("headers.x == 'first'", "yes"),
        ("headers['x'] == 'first' && headers.raw == b'\\xff'", "yes"),
        ("headers.none == null", "yes"),
        ("headers.y == 'first'", "no"),
        ("has(headers.x) && !has(headers.y)", "yes"),
        ("'x' in headers && !('y' in headers) && headers.x == 'first'", "yes"),
        ("metadata.m.n.o == 7", "yes"),
        ("metadata.m.n.o.p == 7", "rule"),
        ("metadata.q.n == 7", "no"),
        ("size(metadata) == 2", "yes"),
        ("headers.x.y == 1", "rule"),
        ("key.y == 1", "rule"),
    ];
    for (condition, due) in table {
        let seen = decide(condition, &message, &raw);
        assert!(seen == due || due == "rule" && seen.starts_with("rule: "), "{condition}: {seen}");
    }
    let bare = BridgeMessage::new(MessageId::from_u128(1), "");
    assert_eq!(decide("key == 'k' || topic == 't'", &bare, &raw), "no");
}

#[test]
fn the_first_match_wins_and_a_fault_ends_the_search() {
    let rules = [
        RoutingRule::new("payload.n == 1", "one"),
        RoutingRule::new("payload.n > 1", "more"),
        RoutingRule::new("payload.n > 0", "all"),
        RoutingRule::new("true", "one"),
    ];
    let rules = RuleSet::compile(&rules, &policy(MessageFormat::Json)).expect("good rules");
    let mut scratch = Scratch::default();
    let mut to = |payload: &'static str| match rules.decide(&message(payload), &mut scratch) {
        Verdict::Route { to, rule } => format!("{to} by {rule}"),
        other => format!("{other:?}"),
    };
    assert_eq!(to(r#"{"n":1}"#), "one by 1");
    assert_eq!(to(r#"{"n":2}"#), "more by 2");
    assert_eq!(to(r#"{"n":0.5}"#), "all by 3");
    assert_eq!(to("{}"), "one by 4");
    assert!(to(r#"{"n":"x"}"#).starts_with("RuleError { rule: 2"));
    let routes: Vec<_> = rules.routes().map(|(rule, to)| (rule, to.to_string())).collect();
    assert_eq!(routes, [(1, "one".into()), (2, "more".into()), (3, "all".into()), (4, "one".into())]);
}

#[test]
fn a_fault_quotes_no_value_of_the_message() {
    let secret = message(r#"{"s":"hunter2","n":1}"#);
    for condition in [
        "payload.s > 4",
        "payload.s + 1 == 2",
        "payload.s",
        "int(payload.s) == 1",
        "payload.s[0] == 'h'",
        "payload.n[payload.s] == 1",
        "payload.s ? true : false",
        "payload.s && true",
        "!payload.s",
        "-payload.s == 1",
        "payload.n in payload.s",
        "{payload.s: 1, payload.s: 2} == {}",
    ] {
        let seen = decide(condition, &secret, &policy(MessageFormat::Json));
        assert!(seen.starts_with("rule: ") && !seen.contains("hunter2"), "{condition}: {seen}");
    }
}

/// A JSON text of every kind of value, with the names that the paths below ask for.
fn any_json(random: &mut fastrand::Rng, depth: u32) -> serde_json::Value {
    let names = ["a", "b", "c", "ä", "a b"];
    match random.u32(..if depth == 0 { 6 } else { 8 }) {
        0 => serde_json::Value::Null,
        1 => random.bool().into(),
        2 => random.i32(-3..3).into(),
        3 => (f64::from(random.i32(-30..30)) / 4.0).into(),
        4 => "a\u{62}\n\"\\ä\u{1F600}"[..random.usize(..4)].into(),
        5 => u64::MAX.into(),
        6 => (0..random.u32(..4)).map(|_| any_json(random, depth - 1)).collect(),
        _ => {
            let fields = (0..random.u32(..5)).map(|_| {
                let name = names[random.usize(..names.len())];
                (name.to_owned(), any_json(random, depth - 1))
            });
            serde_json::Value::Object(fields.collect())
        }
    }
}

#[test]
fn the_view_sees_what_a_whole_parse_sees() {
    let conditions = [
        "payload.a == 1",
        "payload.b.a == 1",
        "payload.b.c == 1",
        "payload['a b'].a.b == 1",
        "payload.c[0] == 1",
    ];
    let exprs: Vec<_> =
        conditions.iter().map(|text| ENV.compile(text).expect("CEL").expression().clone()).collect();
    let paths = Paths::of(exprs.iter());
    let reader = Reader::new(&paths, MessageFormat::Json);
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..5_000 {
        let whole = any_json(&mut random, 3);
        let text = if random.bool() { whole.to_string() } else { format!(" {whole:#} ") };
        let message = message(text);
        let mut slots = Vec::new();
        reader.read(&message, &mut slots).expect("JSON");
        for (slot, path) in slots.iter().zip(paths.iter()) {
            let mut due = Some(&whole);
            let mut parent_is_object = true;
            for name in &path.names {
                parent_is_object = due.is_none_or(serde_json::Value::is_object);
                due = due.and_then(|value| value.get(name));
                if !parent_is_object {
                    break;
                }
            }
            let seen = match slot {
                Slot::NoObject => !parent_is_object,
                Slot::Absent | Slot::Missing => due.is_none() && parent_is_object,
                slot => due.is_some_and(|due| {
                    slot.value().is_some_and(|value| {
                        format!("{value:?}") == format!("{:?}", view::json(due).value().expect("a value"))
                            || matches!(slot, Slot::Tree(_))
                    })
                }),
            };
            assert!(seen, "round {round}: {path} of {whole} is {slot:?}");
        }
    }
}

#[test]
fn what_is_json_is_what_serde_json_takes_whatever_is_read_of_it() {
    let read = |conditions: &[&str], payload: &[u8]| {
        let rules: Vec<_> = conditions.iter().map(|text| RoutingRule::new(*text, "to")).collect();
        let rules = RuleSet::compile(&rules, &policy(MessageFormat::Json)).expect("good rules");
        let verdict = rules.decide(&message(payload.to_vec()), &mut Scratch::default());
        !matches!(verdict, Verdict::Undecodable(_))
    };
    let mut random = fastrand::Rng::with_seed(11);
    let mut refused = 0;
    for _ in 0..3_000 {
        let mut payload = any_json(&mut random, 3).to_string().into_bytes();
        for _ in 0..random.u32(..3) {
            let place = random.usize(..payload.len());
            payload[place] = *random.choice(b"{}[]\",:\\0-+.tnu \x01\x80\xff").expect("some");
        }
        let due = serde_json::from_slice::<serde_json::Value>(&payload).is_ok();
        refused += usize::from(!due);
        for conditions in [
            &["true"][..],
            &["payload.a == 1"],
            &["payload.b.a == 1", "payload['a b'] == 1"],
            &["size(payload) == 1"],
        ] {
            // No exponents, because a number beyond every number type is JSON. So is a lone surrogate: a `Value` cannot hold it, and here it is a fault of the rule that reads it.
            let lone = payload.windows(2).any(|two| two == b"\\u");
            assert!(read(conditions, &payload) == due || lone, "{}", String::from_utf8_lossy(&payload));
        }
    }
    assert!(refused > 500, "{refused} of the texts are broken");
}

/// A text that is JSON before it is damaged: with escapes, names that come again, odd numbers, spaces and depth.
fn any_text(random: &mut fastrand::Rng, depth: u32, into: &mut String) {
    let spaces = ["", "", "", " ", "\n\t"];
    let strings =
        ["", "a", "b", "ä😀", "longer than a word of eight bytes", "\\n", "\\u0061", "\\ud800", "a\\\"b\\\\"];
    let numbers = [
        "0",
        "-0",
        "7",
        "-3",
        "0.5",
        "1e2",
        "1E+2",
        "-2.5e-3",
        "18446744073709551615",
        "1e999",
        "123456789012345678901",
    ];
    let pick = |random: &mut fastrand::Rng, from: &[&'static str]| from[random.usize(..from.len())];
    into.push_str(pick(random, &spaces));
    match random.u32(..if depth == 0 { 4 } else { 7 }) {
        0 => into.push_str(pick(random, &["null", "true", "false"])),
        1 | 2 => into.push_str(pick(random, &numbers)),
        3 => into.push_str(&format!("\"{}\"", pick(random, &strings))),
        kind => {
            let (open, close) = if kind == 4 { ('[', ']') } else { ('{', '}') };
            into.push(open);
            for place in 0..random.u32(..5) {
                if place > 0 {
                    into.push(',');
                }
                if open == '{' {
                    let name = pick(random, &["a", "a", "b", "c", "\\u0061", "ä"]);
                    into.push_str(&format!("{}\"{name}\"{}:", pick(random, &spaces), pick(random, &spaces)));
                }
                any_text(random, depth - 1, into);
            }
            into.push_str(pick(random, &spaces));
            into.push(close);
        }
    }
    into.push_str(pick(random, &spaces));
}

#[test]
fn where_the_quick_way_answers_serde_json_answers_the_same() {
    let names = |path: &str| path.split('.').map(str::to_owned).collect::<Vec<_>>();
    let wanted: [&[&str]; 5] = [&[], &["a"], &["a.b", "b"], &["a.a.a", "a.b.c", "c"], &["ä"]];
    let mut nodes: Vec<(Node, usize)> = Vec::new();
    for paths in wanted {
        let mut node = Node::default();
        paths.iter().enumerate().for_each(|(slot, path)| node.want(&names(path), slot));
        nodes.push((node, paths.len()));
    }
    let mut whole = Node::default();
    whole.want(&[], 0);
    nodes.push((whole, 1));

    let mut random = fastrand::Rng::with_seed(13);
    let (mut quick, mut left, mut broken) = (0, 0, 0);
    for round in 0..8_000 {
        let mut text = String::new();
        any_text(&mut random, 5, &mut text);
        if round % 50 == 0 {
            let around = random.usize(55..75);
            text = format!("{}{text}{}", "[".repeat(around), "]".repeat(around));
        }
        let mut bytes = text.into_bytes();
        for _ in 0..random.u32(..3) {
            let place = random.usize(..bytes.len());
            match random.u32(..4) {
                0 => drop(bytes.remove(place)),
                1 => bytes.truncate(place),
                2 => bytes.insert(place, *random.choice(b"{}[]\",:\\0-+.tnue \x01").expect("some")),
                _ => bytes[place] = *random.choice(b"{}[]\",:\\0-+.tnue \x01").expect("some"),
            }
            if bytes.is_empty() {
                break;
            }
        }
        // What is not UTF-8 reaches neither way.
        let Ok(text) = String::from_utf8(bytes) else { continue };
        for (node, count) in &nodes {
            let slots = || std::iter::repeat_with(|| Slot::Absent).take(*count).collect::<Vec<_>>();
            let (mut one, mut other) = (slots(), slots());
            let sure = parse::read(&text, node, &mut other);
            match scan::read(&text, node, &mut one) {
                Ok(()) => {
                    assert!(sure.is_ok(), "{text:?}: {sure:?}");
                    assert!(
                        one.iter().zip(&other).all(|(one, other)| same(one, other)),
                        "{text:?}: {one:?} {other:?}"
                    );
                    quick += 1;
                }
                Err(_) if sure.is_ok() => left += 1,
                Err(_) => broken += 1,
            }
        }
    }
    // Each of the three is met often enough to mean something.
    assert!(quick > 5_000 && left > 500 && broken > 5_000, "{quick} quick, {left} left, {broken} broken");
}

fn same(one: &Slot<'_>, other: &Slot<'_>) -> bool {
    let values = match (one.value(), other.value()) {
        (Some(one), Some(other)) => one.equals(other),
        (one, other) => one.is_none() && other.is_none(),
    };
    std::mem::discriminant(one) == std::mem::discriminant(other) && values
}
