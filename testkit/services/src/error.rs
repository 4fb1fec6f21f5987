//! Why a service did not start, stop or stay.

use std::{error::Error, fmt, io, time::Duration};

/// Says why a service cannot run on this machine and what to install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    reason: String,
}

impl Unavailable {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl Error for Unavailable {}

/// Says what went wrong with a service.
///
/// `{}` is one line, full enough to act on; `{:#}` and `{:?}` add the last lines of the log.
#[non_exhaustive]
pub enum ServiceError {
    /// Something must be installed first.
    Unavailable(Unavailable),
    /// The request makes no sense: a number of nodes that is not offered, a listener named twice, an unknown node.
    Invalid(String),
    /// A file, a directory or a program could not be used.
    Io {
        /// What was being done.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program ended though it was to go on, or ended with a failure.
    Ended {
        /// Which program.
        program: String,
        /// The last lines it wrote.
        log: Vec<String>,
    },
    /// A program was not ready, or not done, in time.
    TimedOut {
        /// Which program.
        program: String,
        /// The time it had.
        after: Duration,
        /// The last lines it wrote.
        log: Vec<String>,
    },
    /// A port that was free when it was chosen was taken before the broker listened on it.
    AddressInUse {
        /// Which program.
        program: String,
        /// The last lines it wrote.
        log: Vec<String>,
    },
}

impl ServiceError {
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    /// Returns the last lines of the log of the program that failed; empty where no program ran.
    #[must_use]
    pub fn log(&self) -> &[String] {
        match self {
            Self::Ended { log, .. } | Self::TimedOut { log, .. } | Self::AddressInUse { log, .. } => log,
            Self::Unavailable(_) | Self::Invalid(_) | Self::Io { .. } => &[],
        }
    }

    /// The line that names the cause: the first that speaks of an error, else the last.
    fn cause(&self) -> String {
        let log = self.log();
        match (log.iter().find(|line| line.contains("ERROR") || line.contains("Exception")), log.last()) {
            (Some(error), _) => format!(": {error}"),
            (None, Some(last)) => format!("; its last line: {last}"),
            (None, None) => "; it wrote nothing".to_owned(),
        }
    }
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(unavailable) => write!(f, "{unavailable}")?,
            Self::Invalid(what) => write!(f, "{what}")?,
            Self::Io { doing, source } => write!(f, "{doing}: {source}")?,
            Self::Ended { program, .. } => write!(f, "{program} ended{}", self.cause())?,
            Self::TimedOut { program, after, .. } => {
                write!(f, "{program} took longer than {} s{}", after.as_secs(), self.cause())?;
            }
            Self::AddressInUse { program, .. } => {
                write!(f, "{program} found its port taken{}", self.cause())?;
            }
        }
        if f.alternate() && !self.log().is_empty() {
            f.write_str("\nlast lines of its log:")?;
            for line in self.log() {
                write!(f, "\n  {line}")?;
            }
        }
        Ok(())
    }
}

// `unwrap` in a test prints this, so it is made for a reader.
impl fmt::Debug for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:#}")
    }
}

// `Io` names its source in `Display`, so there is no `source()` that would print it twice.
impl Error for ServiceError {}

impl From<Unavailable> for ServiceError {
    fn from(unavailable: Unavailable) -> Self {
        Self::Unavailable(unavailable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_is_one_line_and_the_alternate_form_adds_the_log() {
        let log = vec!["INFO hello".to_owned(), "ERROR disk full".to_owned(), "INFO bye".to_owned()];
        let error = ServiceError::Ended { program: "kafka node 1".to_owned(), log };
        assert_eq!(error.to_string(), "kafka node 1 ended: ERROR disk full");
        let long = format!("{error:?}");
        assert!(long.ends_with("  INFO hello\n  ERROR disk full\n  INFO bye"), "{long}");
    }
}
