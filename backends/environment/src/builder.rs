//! What the program brings, and the two ways to read a file.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use onex_spi::http::{HttpInterceptor, Resolver};
use onex_spi::provider::{KeyError, OpenContext, Port, Provider, Table};
use onex_spi::{Clock, Error, ErrorKind, Result, TokioClock};

use crate::Environment;
use crate::fault::LOAD;
use crate::http_policy::Interceptors;
use crate::open::open;
use crate::plan::{Plan, Program, plan};
use crate::require::Requirement;
use crate::table::OwnTable;
use crate::variables::Variables;

/// The most bytes of a file.
const MOST_BYTES: u64 = 1 << 20;

/// Collects what an [`Environment`] is made of: providers, needs, clock and seed.
#[must_use = "a builder does nothing until a file is loaded"]
#[derive(Clone, Debug, Default)]
pub struct EnvironmentBuilder {
    program: Program,
    variables: Option<Variables>,
    clock: Option<Arc<dyn Clock>>,
    seed: Option<u64>,
    resolver: Option<Arc<dyn Resolver>>,
    interceptors: Interceptors,
}

impl EnvironmentBuilder {
    /// Adds a provider; a file can name the engines of these and no others.
    pub fn with(mut self, provider: impl Provider) -> Self {
        self.program.providers.push(Arc::new(provider));
        self
    }

    /// Lets the table `name` stand in the file beside the profiles; it is the program's own, and one for all profiles.
    ///
    /// `judge` sees it with its references resolved, and the ports that the profile names engines for; what it refuses is told with
    /// everything else that is wrong in the file. A path into an array counts its items from 1; there, all errors are to be told
    /// at once. [`Environment::take_table`] hands the table over.
    pub fn table(
        mut self,
        name: &str,
        judge: impl Fn(&Table, &[Port]) -> Vec<KeyError> + Send + Sync + 'static,
    ) -> Self {
        self.program.tables.push(OwnTable::new(name, judge));
        self
    }

    /// States what the program cannot do without: a port, or a feature of one.
    ///
    /// Loading fails where it is missing, before the first message and not at it.
    pub fn require(mut self, requirement: impl Into<Requirement>) -> Self {
        self.program.requirements.push(requirement.into());
        self
    }

    /// Uses these variables in place of those of the process, for overrides and for `env:` references.
    pub fn with_variables<N: Into<String>, V: Into<String>>(
        mut self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let pairs = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        self.variables = Some(Variables::of(pairs));
        self
    }

    /// Hands every engine this clock; else the clock of the tokio runtime.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Hands every engine this seed; else a new one at each load, which is traced.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Hands engines that dial the one resolver that they may ask.
    pub fn resolver(mut self, resolver: Arc<dyn Resolver>) -> Self {
        self.resolver = Some(resolver);
        self
    }

    /// Puts an interceptor around whole calls of the HTTP client, inside those that are there: credentials, logging, caches.
    pub fn around_http_call(mut self, interceptor: Arc<dyn HttpInterceptor>) -> Self {
        self.interceptors.around_call.push(interceptor);
        self
    }

    /// Puts an interceptor around each attempt of the HTTP client, inside those that are there and inside the breaker.
    pub fn around_http_attempt(mut self, interceptor: Arc<dyn HttpInterceptor>) -> Self {
        self.interceptors.around_attempt.push(interceptor);
        self
    }

    /// Reads the file at `path` and opens what it says for `profile`; to be called within a tokio runtime.
    ///
    /// # Errors
    /// `InvalidInput` with everything that is wrong in the file, a line each, before anything is opened; `Unsupported`
    /// for a feature that is required and not declared; `NotFound`, `PermissionDenied`, `TooLarge` or `Unavailable` for
    /// a file that cannot be read; else what the engine met that could not be opened, after the others were closed again.
    /// # Cancellation
    /// Leaves nothing open.
    pub async fn load(self, path: impl AsRef<Path>, profile: &str) -> Result<Environment> {
        let path = path.as_ref().to_owned();
        let name = path.display().to_string();
        self.read(move || read(&path), name, profile).await
    }

    /// Checks the file at `path` for `profile` and opens nothing.
    ///
    /// # Errors
    /// Those of [`load`](Self::load) that need nothing open.
    /// # Cancellation
    /// Leaves nothing behind.
    pub async fn check(self, path: impl AsRef<Path>, profile: &str) -> Result<()> {
        let path = path.as_ref().to_owned();
        let name = path.display().to_string();
        self.planned(move || read(&path), name, profile).await.map(drop)
    }

    /// Reads `text`, which errors call `name`, as [`load`](Self::load) reads a file.
    ///
    /// `file:` references start from the folder of `name`, as if it were a path.
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    /// # Cancellation
    /// Leaves nothing open.
    pub async fn parse(self, text: &str, name: &str, profile: &str) -> Result<Environment> {
        let text = text.to_owned();
        self.read(move || Ok(text), name.to_owned(), profile).await
    }

    async fn read(
        self,
        text: impl FnOnce() -> Result<String> + Send + 'static,
        name: String,
        profile: &str,
    ) -> Result<Environment> {
        let (clock, seed, resolver) = (self.clock.clone(), self.seed, self.resolver.clone());
        let (interceptors, requirements) = (self.interceptors.clone(), self.program.requirements.clone());
        let plan = self.planned(text, name, profile).await?;
        let seed = seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        let clock = clock.unwrap_or_else(|| Arc::new(TokioClock::new()));
        let mut context = OpenContext::new(clock, seed);
        context.resolver = resolver;
        open(plan, &context, &requirements, &interceptors).await
    }

    async fn planned(
        self,
        text: impl FnOnce() -> Result<String> + Send + 'static,
        name: String,
        profile: &str,
    ) -> Result<Plan> {
        let Self { program, variables, .. } = self;
        let profile = profile.to_owned();
        let planned = move || -> Result<Plan> {
            let text = text()?;
            let base = PathBuf::from(&name).parent().map(Path::to_owned).unwrap_or_default();
            plan(&text, &name, &base, &profile, &variables.unwrap_or_else(Variables::of_process), &program)
        };
        // Files are read, so this must not stand on a thread of the runtime.
        match tokio::task::spawn_blocking(planned).await {
            Ok(plan) => plan,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(Error::closed(LOAD, "the runtime").not_applied()),
            },
        }
    }
}

fn read(path: &Path) -> Result<String> {
    let refused = |fault: std::io::Error| {
        let kind = match fault.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
            std::io::ErrorKind::InvalidData => ErrorKind::InvalidInput,
            _ => ErrorKind::Unavailable,
        };
        Error::new(kind, LOAD, format!("cannot read {}: {fault}", path.display())).not_applied()
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(refused)?;
    file.take(MOST_BYTES + 1).read_to_string(&mut text).map_err(refused)?;
    if text.len() as u64 > MOST_BYTES {
        let message = format!("{} is longer than {MOST_BYTES} bytes", path.display());
        return Err(Error::new(ErrorKind::TooLarge, LOAD, message).not_applied());
    }
    Ok(text)
}
