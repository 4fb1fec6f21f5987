//! Which crates the service knows, and which a user of it must build.

use std::path::Path;
use std::process::Command;

/// CARD-16: the library part is coded against ports; no module of it names a crate of ours but the SPI.
#[test]
fn the_library_imports_no_engine() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut read = 0;
    for entry in std::fs::read_dir(folder).expect("the sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            panic!("{} is a folder: let this test look into it", path.display());
        }
        // The program that assembles: it names providers, and holds no logic.
        if path.file_name().is_some_and(|name| name == "main.rs") {
            continue;
        }
        let source = std::fs::read_to_string(&path).expect("a source");
        let foreign: Vec<&str> = source
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .filter(|word| word.starts_with("onex_") && *word != "onex_spi")
            .collect();
        assert!(foreign.is_empty(), "{} names {foreign:?}", path.display());
        read += 1;
    }
    assert!(read >= 6, "only {read} files were read");
}

/// CARD-05: the engine that builds C code is a crate of its own, which nobody builds who does not ask for it.
#[test]
fn without_the_feature_nothing_builds_c() {
    let tree = |features: &[&str]| {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--offline", "--locked", "-p", "example-quickstart", "-e", "normal,build"])
            .args(["--prefix", "none"])
            .args(features)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let builds_c = |tree: &str| -> Vec<String> {
        let crates =
            ["rdkafka-sys", "zstd-sys", "libz-sys", "openssl-sys", "aws-lc-sys", "ring", "cc", "cmake"];
        let named = |name: &&&str| tree.lines().any(|line| line.split(' ').next() == Some(**name));
        crates.iter().filter(named).map(|name| (*name).to_owned()).collect()
    };
    assert_eq!(builds_c(&tree(&[])), [""; 0]);
    let real = builds_c(&tree(&["--features", "real"]));
    assert!(real.contains(&"rdkafka-sys".to_owned()), "the list catches nothing: {real:?}");
}
