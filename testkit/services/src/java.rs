//! Where Java and Maven are.

use std::{
    env,
    hash::{DefaultHasher, Hash, Hasher},
    path::PathBuf,
    process::Command,
};

use crate::Unavailable;

/// Apache Kafka 4 runs on nothing older.
const OLDEST: u32 = 17;

#[derive(Clone, Debug)]
pub(crate) struct Java {
    pub(crate) path: PathBuf,
    /// Names this runtime and no other, fit for a file name: a class archive serves only the one that wrote it.
    pub(crate) identity: String,
}

impl Java {
    /// Finds `$JAVA_HOME/bin/java`, else `java` on the path, and asks it for its version.
    pub(crate) fn find() -> Result<Self, Unavailable> {
        const INSTALL: &str = "run: apt-get install -y --no-install-recommends default-jre-headless maven";
        let home = env::var_os("JAVA_HOME").map(|home| PathBuf::from(home).join("bin/java"));
        let path = home
            .filter(|java| java.is_file())
            .or_else(|| on_path("java"))
            .ok_or_else(|| Unavailable::new(format!("java not found; {INSTALL}")))?;
        let told = Command::new(&path).arg("-version").output().map_err(|error| {
            Unavailable::new(format!("{} does not run: {error}; {INSTALL}", path.display()))
        })?;
        let told = String::from_utf8_lossy(&told.stderr).into_owned();
        let Some(version) = told.split('"').nth(1) else {
            let line = told.lines().next().unwrap_or_default();
            return Err(Unavailable::new(format!("{} does not run: {line}; {INSTALL}", path.display())));
        };
        if major(version).is_none_or(|major| major < OLDEST) {
            let found = format!("java {version} is too old, Kafka needs {OLDEST} or newer");
            return Err(Unavailable::new(format!("{found}; {INSTALL}")));
        }
        let mut hash = DefaultHasher::new();
        (&told, &path).hash(&mut hash);
        let identity = format!("java-{}-{:016x}", version.replace(['/', ' '], "_"), hash.finish());
        Ok(Self { path, identity })
    }
}

/// The first number of `17.0.15`, `25` or `21-ea`; `1.8.0` answers 1, which is too old as well.
fn major(version: &str) -> Option<u32> {
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Finds `mvn` on the path.
pub(crate) fn maven() -> Result<PathBuf, Unavailable> {
    on_path("mvn").ok_or_else(|| {
        Unavailable::new("mvn not found; run: apt-get install -y --no-install-recommends maven".to_owned())
    })
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_the_first_number() {
        assert_eq!(major("17.0.15"), Some(17));
        assert_eq!(major("21-ea"), Some(21));
        assert_eq!(major("1.8.0_402"), Some(1));
        assert_eq!(major("strange"), None);
    }
}
