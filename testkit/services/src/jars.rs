//! Kafka's jars, fetched once, and the class archive that makes its start fast.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{ServiceError, Unavailable, cache, java, java::Java, process::Process};

/// What the folders and files in the cache are named after. 4.4.0 does not resolve: one of its parts is not published.
const NAME: &str = "kafka-4.3.1";
const LOCK: &str = "kafka-4.3.1.lock";

const POM: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>onex</groupId><artifactId>onex-services-kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.3.1</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"#;

/// 44 MB and Maven's own plug-ins over a slow line.
const FETCH_WITHIN: Duration = Duration::from_secs(600);

/// Everything a JVM that runs Kafka needs.
#[derive(Clone, Debug)]
pub(crate) struct Runtime {
    java: Java,
    jars: PathBuf,
    /// Every jar by its name, in one order: an archive is valid for one class path.
    class_path: OsString,
    archive: Archive,
}

#[derive(Clone, Debug)]
enum Archive {
    None,
    Use(PathBuf),
    Write(PathBuf),
}

/// Tells whether the jars are there or can be asked for.
pub(crate) fn available() -> Result<(), Unavailable> {
    Java::find()?;
    let cached = cache::directory().is_ok_and(|cache| cache.join(NAME).is_dir());
    if cached { Ok(()) } else { java::maven().map(drop) }
}

impl Runtime {
    /// Finds Java and the jars, fetching them if this cache has none.
    pub(crate) async fn prepare() -> Result<Self, ServiceError> {
        let java = tokio::task::spawn_blocking(Java::find)
            .await
            .unwrap_or_else(|error| Err(Unavailable::new(format!("looking for java: {error}"))))?;
        let cache = cache::directory()?;
        let jars = cache.join(NAME);
        if !jars.is_dir() {
            let _lock = cache::lock(&cache, LOCK).await?;
            if !jars.is_dir() {
                fetch(&jars).await?;
            }
        }
        let reading = ServiceError::io(format!("reading {}", jars.display()));
        let class_path = class_path(&jars).map_err(reading)?;
        Ok(Self { java, jars, class_path, archive: Archive::None })
    }

    /// Uses the class archive of this Java, made by `train` if there is none.
    ///
    /// `train` starts and stops a broker in order. A Java that cannot write archives (one without its own base archive)
    /// leaves a note in the archive's place, so that it is asked once and not at every start.
    pub(crate) async fn with_archive<F>(mut self, train: impl FnOnce(Self) -> F) -> Result<Self, ServiceError>
    where
        F: Future<Output = Result<(), ServiceError>>,
    {
        // Among the jars: it is valid for these files with these dates, so it goes when they go.
        let archive = self.jars.join(format!("{}.jsa", self.java.identity));
        let note = archive.with_extension("jsa-refused");
        if !archive.is_file() && !note.is_file() {
            let cache = cache_of(&self.jars);
            let _lock = cache::lock(cache, LOCK).await?;
            if !archive.is_file() && !note.is_file() {
                let failed =
                    |source| ServiceError::Io { doing: "writing the class archive".to_owned(), source };
                let folder = temporary(cache).map_err(failed)?;
                let written = folder.path().join("classes.jsa");
                train(Self { archive: Archive::Write(written.clone()), ..self.clone() }).await?;
                if written.is_file() {
                    fs::rename(&written, &archive).map_err(failed)?;
                } else {
                    fs::write(&note, "this Java writes no class archive; delete this file to ask again\n")
                        .map_err(failed)?;
                }
            }
        }
        if archive.is_file() {
            self.archive = Archive::Use(archive);
        }
        Ok(self)
    }

    /// The command line up to the main class; both broker and tools take it, so that both profit from the archive.
    pub(crate) fn command(&self, heap: u64, options: &[String], main: &str) -> Vec<OsString> {
        let mut command: Vec<OsString> = vec![
            self.java.path.clone().into(),
            // Made for a short life: the first compiler and the simplest collector start fastest and hold least memory.
            "-XX:+UseSerialGC".into(),
            "-XX:TieredStopAtLevel=1".into(),
            format!("-Xmx{}k", heap / 1024).into(),
            "-Dorg.slf4j.simpleLogger.logFile=System.out".into(),
            // It prints 400 lines of settings.
            "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config.AbstractConfig=warn".into(),
        ];
        let (option, file) = match &self.archive {
            Archive::None => ("", None),
            Archive::Use(file) => ("-XX:SharedArchiveFile=", Some(file)),
            Archive::Write(file) => ("-XX:ArchiveClassesAtExit=", Some(file)),
        };
        if let Some(file) = file {
            let mut option = OsString::from(option);
            option.push(file);
            command.push(option);
        }
        command.extend(options.iter().map(OsString::from));
        command.extend(["-cp".into(), self.class_path.clone(), main.into()]);
        command
    }

    /// The same without writing an archive: tools run before the broker whose classes are to be kept.
    pub(crate) fn for_tools(&self) -> Self {
        match self.archive {
            Archive::Write(_) => Self { archive: Archive::None, ..self.clone() },
            Archive::None | Archive::Use(_) => self.clone(),
        }
    }
}

/// In the cache, so that a rename is one step on one file system.
fn temporary(cache: &Path) -> io::Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix("unfinished-").tempdir_in(cache)
}

fn cache_of(jars: &Path) -> &Path {
    jars.parent().expect("the jars lie in a folder of the cache")
}

async fn fetch(jars: &Path) -> Result<(), ServiceError> {
    let cache = cache_of(jars);
    let maven = java::maven()?;
    let failed =
        |source| ServiceError::Io { doing: format!("fetching jars into {}", cache.display()), source };
    let folder = temporary(cache).map_err(failed)?;
    let (pom, fetched) = (folder.path().join("pom.xml"), folder.path().join("jars"));
    fs::write(&pom, POM).map_err(failed)?;
    let mut output = OsString::from("-DoutputDirectory=");
    output.push(&fetched);
    let command: [OsString; 8] = [
        maven.into(),
        "-q".into(),
        "-B".into(),
        "-f".into(),
        pom.into(),
        "dependency:copy-dependencies".into(),
        "-DincludeScope=runtime".into(),
        output,
    ];
    let name = "mvn dependency:copy-dependencies";
    Process::spawn(name, &command, folder.path(), "", Arc::default())?.exit(FETCH_WITHIN).await?;
    fs::rename(&fetched, jars).map_err(failed)
}

fn class_path(jars: &Path) -> io::Result<OsString> {
    let mut files = fs::read_dir(jars)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "jar"));
    files.sort();
    std::env::join_paths(files).map_err(io::Error::other)
}
