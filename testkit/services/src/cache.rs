//! The folder that outlives the processes: jars and class archives.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
};

use crate::ServiceError;

/// Finds the folder; it need not exist yet.
///
/// `$ONEX_SERVICES_DIR`, else `onex-services` in Cargo's target directory: `$CARGO_TARGET_DIR`, else the one that holds
/// the running program, else the one beside the `Cargo.lock` above the package that is being run or was built.
pub(crate) fn directory() -> Result<PathBuf, ServiceError> {
    if let Some(directory) = env::var_os("ONEX_SERVICES_DIR") {
        return std::path::absolute(&directory).map_err(ServiceError::io("reading ONEX_SERVICES_DIR"));
    }
    let given = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    // A relative one is relative to where Cargo was started, which a test cannot know.
    let target = given.filter(|path| path.is_absolute()).or_else(of_program).or_else(of_package);
    match target {
        Some(target) => Ok(target.join("onex-services")),
        None => Err(ServiceError::Invalid("no target directory found; set ONEX_SERVICES_DIR".to_owned())),
    }
}

fn of_program() -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    program.ancestors().find(|path| path.join("CACHEDIR.TAG").is_file()).map(Path::to_owned)
}

fn of_package() -> Option<PathBuf> {
    let running = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let package = running.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    package.ancestors().find(|path| path.join("Cargo.lock").is_file()).map(|path| path.join("target"))
}

/// Waits until no other process or task holds the lock called `name`; the system frees it when the file is dropped or
/// the process dies.
pub(crate) async fn lock(directory: &Path, name: &str) -> Result<File, ServiceError> {
    let path = directory.join(name);
    let doing = format!("locking {}", path.display());
    let locked = tokio::task::spawn_blocking(move || {
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        let file = File::create(&path)?;
        file.lock()?;
        Ok(file)
    });
    locked.await.unwrap_or_else(|error| Err(error.into())).map_err(ServiceError::io(doing))
}
