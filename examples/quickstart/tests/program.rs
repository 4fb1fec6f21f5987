//! The program as a user runs it: what it prints, and how each mistake is told.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
#[cfg(feature = "real")]
use std::time::{Duration, Instant};

fn quickstart(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_example-quickstart"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ONEX__")) {
        command.env_remove(name);
    }
    command.args(arguments).envs(variables.iter().copied()).output().expect("the program starts")
}

/// What a run that must fail says; nothing is printed as if it had worked.
fn refused(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let output = quickstart(arguments, variables);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(output.stdout, b"", "{output:?}");
    let told = String::from_utf8(output.stderr).expect("text");
    assert!(told.starts_with("quickstart: ") && !told.contains("panicked"), "{told}");
    told
}

fn file(folder: &tempfile::TempDir, text: &str) -> String {
    let path: PathBuf = folder.path().join("onex.toml");
    std::fs::write(&path, text).expect("written");
    path.display().to_string()
}

fn own_file() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("onex.toml").display().to_string()
}

const ORDERS_LINES: &str = "\
orders: 1000 received = 893 accepted + 47 malformed + 60 upstream-failed
orders: 893 consumed and committed
";

#[test]
fn on_memory_it_accounts_for_every_order() {
    let output = quickstart(&[], &[]);
    let told = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success() && told.starts_with(ORDERS_LINES), "{told}");
    assert!(told.lines().last().is_some_and(|line| line.starts_with("profile default: done in ")), "{told}");
}

#[test]
fn an_unknown_profile_is_told_with_those_there_are() {
    let told = refused(&["--profile", "staging"], &[]);
    let expected = format!(
        "quickstart: environment.load: {0} does not describe the profile `staging`:\n  \
         {0}:1:1: unknown profile `staging`; known: `default`, `real`\n\
         1 error; nothing was opened (InvalidInput)\n",
        own_file()
    );
    assert_eq!(told, expected);
}

#[test]
fn unknown_engines_and_keys_are_told_together_by_line_with_those_there_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let path =
        file(&folder, "[default.http]\nengine = 'curl'\n[default.kafka]\nengine = 'memory'\npartitons = 3\n");
    let told = refused(&["--environment", &path], &[]);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 4, "{told}");
    assert!(
        lines[1].starts_with(&format!(
            "  {path}:2:10: http.engine: unknown engine `curl`; registered for http: `memory`"
        )),
        "{told}"
    );
    assert!(
        lines[2].starts_with(&format!("  {path}:5:1: kafka.partitons: unknown field `partitons`, expected ")),
        "{told}"
    );
    assert!(lines[2].contains("`default_partitions`"), "{told}");
    assert_eq!(lines[3], "2 errors; nothing was opened (InvalidInput)");
}

#[test]
fn files_that_are_not_there_are_told_with_the_option_that_gives_others() {
    for option in ["--environment", "--orders"] {
        let told = refused(&[option, "/nowhere/at-all"], &[]);
        assert_eq!(
            told,
            format!(
                "quickstart: cannot read /nowhere/at-all: No such file or directory (os error 2); give another with {option}\n"
            )
        );
    }
}

#[test]
fn a_missing_secret_is_told_by_its_name_and_a_present_one_is_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let own = std::fs::read_to_string(own_file()).expect("the example's file");
    let path = file(
        &folder,
        &own.replace(
            "[default.http.client.retry]",
            "[default.http.client]\nuser_agent = 'env:AGENT'\n\n[default.http.client.retry]",
        ),
    );
    let told = refused(&["--environment", &path], &[]);
    let line = told.lines().nth(1).expect("a fault");
    assert!(
        line.ends_with(": http.client.user_agent: `env:AGENT`: the variable is not set; set it"),
        "{told}"
    );
    assert!(quickstart(&["--environment", &path], &[("AGENT", "quick")]).status.success());
}

#[test]
fn an_unknown_option_is_told_with_the_usage() {
    let output = quickstart(&["--profil", "real"], &[]);
    let told = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("'--profile'"), "{told}");
}

#[cfg(not(feature = "real"))]
#[test]
fn the_profile_real_without_its_feature_is_told_with_the_feature() {
    let told = refused(&["--profile", "real"], &[]);
    for section in ["http", "http_server", "kafka"] {
        assert!(told.contains(&format!("registered for {section}: `memory`")), "{told}");
    }
    assert!(
        told.ends_with("(InvalidInput); the engines of the profile real are linked by --features real\n"),
        "{told}"
    );
}

/// ONEX-EX-11, CARD-17: hyper and a real Apache Kafka print what memory prints. The feature says that they are here.
#[cfg(feature = "real")]
#[test]
fn on_the_real_thing_it_prints_what_it_prints_on_memory() {
    let output = quickstart(&["--profile", "real"], &[]);
    let told = String::from_utf8(output.stdout).expect("text");
    let fault = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.starts_with(ORDERS_LINES), "{told}{fault}");
}

#[cfg(feature = "real")]
#[test]
fn a_broker_that_is_not_there_is_told_in_bounded_time() {
    let begin = Instant::now();
    let told = refused(&["--profile", "real"], &[("ONEX__KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")]);
    assert!(told.starts_with("quickstart: the engine of kafka does not work: kafka.health: "), "{told}");
    assert!(told.contains("127.0.0.1:1"), "{told}");
    assert!(told.contains("[real.kafka]") && told.contains("ONEX__KAFKA__*"), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
}
