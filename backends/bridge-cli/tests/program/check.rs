//! Bad files: everything at once, with line, column and the way out.

use crate::support::{File, program};

fn told(text: &str, arguments: &[&str]) -> (Option<i32>, Vec<String>) {
    let file = File::new(text);
    let output = program(arguments, &file.path).output().expect("it runs");
    let text = String::from_utf8(output.stderr).expect("text");
    let text = text.replace(&file.path.display().to_string(), "F");
    (output.status.code(), text.lines().map(|line| line.trim().to_owned()).collect())
}

#[test]
fn everything_that_is_wrong_is_told_at_once_and_where() {
    let text = r#"[default]
http_server.engine = "hyper"
[bridges.a]
source = { protocol = "htpp" }
target = { protocol = "kafka", acks = 1, circuit = "orders" }
rules = [
  { condition = "payload.event == 'x'", to = "logins" },
  { condition = "payload.event =", to = "logins" },
  { condition = "true", too = "logins" },
  { condition = "bar == 'x'", to = "logins" },
]
in_flihgt = 3
[bridges.b]
source = { protocol = "http", listen = "localhost" }
target = { protocol = "http", url = "http://u:hunter2@127.0.0.1:1" }
unmatched = "dead_letter"
[bridges]
c = 7
"#;
    let (code, told) = told(text, &["check"]);
    assert_eq!(code, Some(2));
    let expected = [
        ("F:4:23: ", "bridges.a.source.protocol: unknown protocol `htpp`; known: `http`, `kafka`"),
        ("F:5:10: ", "bridges.a.target: the profile names no engine for kafka; write kafka.engine = \"..\""),
        ("F:5:32: ", "bridges.a.target.acks: unknown field `acks`"),
        (
            "F:5:52: ",
            "bridges.a.target.circuit: the profile names no engine for breaker; write breaker.engine",
        ),
        ("F:8:17: ", "bridges.a.rules.2.condition: rule 2, column 15"),
        ("F:9:25: ", "bridges.a.rules.3.too: unknown field `too`"),
        ("F:10:17: ", "bridges.a.rules.4.condition: rule 4, column 1: there is no `bar`"),
        ("F:12:1: ", "bridges.a.in_flihgt: unknown field `in_flihgt`, expected one of"),
        (
            "F:14:40: ",
            "bridges.b.source.listen: invalid value: string \"localhost\", expected an IP address and a port",
        ),
        ("F:15:10: ", "bridges.b.target: the profile names no engine for http; write http.engine"),
        ("F:15:37: ", "a URL with a password must not stand in the file"),
        ("F:16:13: ", "bridges.b.unmatched: unmatched = \"dead_letter\" needs a dead_letter target"),
        ("F:18:5: ", "bridges.c: invalid type: a bridge is a table; write [bridges.c]"),
    ];
    for (line, (place, says)) in told[1..].iter().zip(expected) {
        assert!(line.starts_with(place) && line.contains(says), "{place}{says}\n{line}");
    }
    assert_eq!(told.last().map(String::as_str), Some("13 errors; nothing was opened"), "{told:#?}");
    assert!(!told.concat().contains("hunter2"));
}

const GOOD: &str = r#"[default]
kafka = { engine = "memory", topics = [{ name = "a" }, { name = "b" }] }
http.engine = "hyper"
[bridges.a]
source = { protocol = "kafka", topics = ["a"], group_id = "g" }
target = { protocol = "kafka" }
rules = [{ condition = "payload.n > 5", to = "b" }]
"#;

#[test]
fn a_good_file_is_good() {
    assert_eq!(told(GOOD, &["check"]), (Some(0), Vec::new()));
    let (code, told) = told(GOOD, &["check", "--profile", "prod"]);
    assert!(
        code == Some(2) && told.concat().contains("unknown profile `prod`; known: `default`"),
        "{told:?}"
    );
}

// bridge.md 1; B13
#[test]
fn loops_and_unreachable_ends_end_the_start_with_their_place() {
    let cases = [
        (GOOD.replace("to = \"b\"", "to = \"a\""), "F:7:10: bridges.a: rule 1 leads to `kafka:a`"),
        (
            GOOD.replace("rules", "dead_letter = { to = \"a\" }\nrules"),
            "F:4:10: bridges.a: dead_letter leads to `kafka:a`",
        ),
        (GOOD.replace("[\"a\"]", "[\"c\"]"), "F:4:10: bridges.a: "),
        (
            GOOD.replace("{ protocol = \"kafka\" }", "{ protocol = \"http\", url = \"http://127.0.0.1:1\" }")
                .replace("to = \"b\"", "to = \"/b\""),
            "F:4:10: bridges.a: http://127.0.0.1:1/ cannot be reached",
        ),
        (GOOD.replace("to = \"b\"", "to = \"b/c\""), "F:7:10: bridges.a: rule 1: "),
        ("[default]\n".to_owned(), "F:1:1: there is no bridge; write [bridges.NAME]"),
    ];
    for (text, says) in cases {
        let (code, told) = told(&text, &["run"]);
        assert!(
            code.is_some_and(|code| code != 0) && told.concat().contains(says),
            "{says}\n{code:?} {told:#?}"
        );
        assert!(told.concat().contains("no bridge was started"), "{told:#?}");
    }
}
