use onex_spi::bridge::{BridgeMessage, MessageFormat, MessageId, RoutingRule, Unmatched};
use onex_spi::kafka::Header;

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
