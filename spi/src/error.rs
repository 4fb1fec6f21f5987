//! One error for every port: what the caller should do, whether the call may have happened, why.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::bridge::BridgeFault;
use crate::http::HttpFault;
use crate::kafka::KafkaFault;

/// The result of every fallible call of onex.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller should do about a failed call.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// It is there already: the caller should use it.
    AlreadyExists,
    /// The object was closed: the caller should open a new one.
    Closed,
    /// Somebody else changed or took over the thing: the caller should read again, or stop.
    Conflict,
    /// The data is damaged: the caller should drop or dead-letter it.
    Corrupt,
    /// The call itself is wrong: the caller should fix it.
    InvalidInput,
    /// It does not exist: the caller should create it, or ask for another.
    NotFound,
    /// The credentials are good, the right is missing: the caller should ask for it.
    PermissionDenied,
    /// A circuit or limiter refused: the caller should wait for [`Error::retry_after`].
    Rejected,
    /// A bound was reached: the caller should slow down.
    ResourceExhausted,
    /// Time ran out: the caller should look at [`Error::effect`] before repeating the call.
    TimedOut,
    /// A size limit was passed: the caller should split or shrink.
    TooLarge,
    /// The credentials were refused: the caller should bring new ones.
    Unauthenticated,
    /// The peer cannot be reached or does not answer: the caller may retry.
    Unavailable,
    /// This engine does not offer that: the caller should use another engine.
    Unsupported,
    /// The engine met something that it has no word for: the caller should report it.
    Unclassified,
}

/// Whether the failed call may have happened all the same.
#[allow(clippy::exhaustive_enums, reason = "there is no third answer")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// The call certainly changed nothing.
    NotApplied,
    /// The call may have happened: an answer was lost or never came.
    Unknown,
}

/// The part of an [`Error`] that belongs to one domain.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// Nothing beyond kind and message.
    #[default]
    None,
    /// HTTP: reason, phase, bytes received.
    Http(HttpFault),
    /// Kafka: the broker's code and what the object needs now.
    Kafka(KafkaFault),
    /// Bridge: reason, rule, column.
    Bridge(BridgeFault),
}

/// The one error of onex: one word wide, cheap to clone, so that one end can be told to many waiters.
///
/// [`Display`](fmt::Display) is one level and enough to act on; `{:#}` adds the chain of sources.
/// The effect is [`Effect::Unknown`] unless the engine is sure and said [`Error::not_applied`].
///
/// # Examples
/// ```
/// use onex_spi::{Effect, Error, ErrorKind};
///
/// let refused = std::io::Error::other("connection refused");
/// let error = Error::new(ErrorKind::Unavailable, "kafka.produce", "broker 127.0.0.1:9092 refused the connection")
///     .not_applied()
///     .with_source(refused);
/// assert_eq!(error.to_string(), "kafka.produce: broker 127.0.0.1:9092 refused the connection (Unavailable)");
/// assert_eq!(format!("{error:#}"), "kafka.produce: broker 127.0.0.1:9092 refused the connection (Unavailable): connection refused");
/// assert_eq!(error.effect(), Effect::NotApplied);
/// assert!(error.is_retryable(false));
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

const _: () = assert!(size_of::<Error>() == size_of::<usize>(), "an error is one word");

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    effect: Effect,
    operation: &'static str,
    message: Cow<'static, str>,
    detail: Detail,
    retry_after: Option<Duration>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Makes an error of `kind` that `operation` (`port.call`, such as `kafka.produce`) met.
    ///
    /// `message` names the input, the rule and the way out; it never holds a secret or a full URL.
    pub fn new(kind: ErrorKind, operation: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner {
            kind,
            effect: Effect::Unknown,
            operation,
            message: message.into(),
            detail: Detail::None,
            retry_after: None,
            source: None,
        }))
    }

    /// A call that is wrong in itself: [`ErrorKind::InvalidInput`], refused before any effect.
    pub fn invalid(operation: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidInput, operation, message).not_applied()
    }

    /// A call on something closed: [`ErrorKind::Closed`], refused before any effect.
    pub fn closed(operation: &'static str, what: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Closed, operation, format!("{what} is closed; open a new one")).not_applied()
    }

    /// A feature that was not declared: [`ErrorKind::Unsupported`], refused before any effect.
    pub fn unsupported(operation: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Unsupported, operation, message).not_applied()
    }

    fn inner_mut(&mut self) -> &mut Inner {
        Arc::make_mut(&mut self.0)
    }

    /// States that the call certainly changed nothing.
    #[must_use]
    pub fn not_applied(self) -> Self {
        self.with_effect(Effect::NotApplied)
    }

    /// Sets the effect.
    #[must_use]
    pub fn with_effect(mut self, effect: Effect) -> Self {
        self.inner_mut().effect = effect;
        self
    }

    /// Adds the domain part.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<Detail>) -> Self {
        self.inner_mut().detail = detail.into();
        self
    }

    /// Says when trying again makes sense.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.inner_mut().retry_after = Some(after);
        self
    }

    /// Adds the engine's own error, which [`std::error::Error::source`] returns.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.inner_mut().source = Some(Arc::from(source.into()));
        self
    }

    /// What the caller should do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the call may have happened.
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.0.effect
    }

    /// The call that failed, as `port.call`.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// The message without operation and kind.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The domain part.
    #[must_use]
    pub fn detail(&self) -> &Detail {
        &self.0.detail
    }

    /// The HTTP part, if there is one.
    #[must_use]
    pub fn http(&self) -> Option<&HttpFault> {
        match &self.0.detail {
            Detail::Http(fault) => Some(fault),
            _ => None,
        }
    }

    /// The Kafka part, if there is one.
    #[must_use]
    pub fn kafka(&self) -> Option<&KafkaFault> {
        match &self.0.detail {
            Detail::Kafka(fault) => Some(fault),
            _ => None,
        }
    }

    /// The bridge's part, if there is one.
    #[must_use]
    pub fn bridge(&self) -> Option<&BridgeFault> {
        match &self.0.detail {
            Detail::Bridge(fault) => Some(fault),
            _ => None,
        }
    }

    /// When trying again makes sense, where that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether repeating the call can help and cannot do harm.
    ///
    /// A transient kind may be repeated where the call is `idempotent` or certainly did not happen.
    #[must_use]
    pub fn is_retryable(&self, idempotent: bool) -> bool {
        use ErrorKind::{Rejected, ResourceExhausted, TimedOut, Unavailable};
        matches!(self.kind(), Rejected | ResourceExhausted | TimedOut | Unavailable)
            && (idempotent || self.effect() == Effect::NotApplied)
    }

    /// Finds an `Error` of ours in a chain of sources, where an engine wrapped one that we handed it.
    #[must_use]
    pub fn find_in(chain: &(dyn StdError + 'static)) -> Option<Self> {
        find_source::<Self>(chain).cloned()
    }
}

/// Finds the first `T` in a chain of sources, also behind an [`io::Error`], which hides what it wraps.
#[must_use]
pub fn find_source<'a, T: StdError + 'static>(mut chain: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    loop {
        if let Some(found) = chain.downcast_ref() {
            return Some(found);
        }
        // The source chain of an `io::Error` shows the payload's source instead of the payload.
        let hidden = chain.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        chain = match hidden {
            Some(hidden) => hidden,
            None => chain.source()?,
        };
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({:?})", self.0.operation, self.0.message, self.0.kind)?;
        if f.alternate() {
            let mut source = self.source();
            while let Some(cause) = source {
                write!(f, ": {cause}")?;
                source = cause.source();
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        let mut out = f.debug_struct("Error");
        out.field("kind", &inner.kind).field("effect", &inner.effect).field("operation", &inner.operation);
        out.field("message", &inner.message).field("detail", &inner.detail);
        if let Some(after) = inner.retry_after {
            out.field("retry_after", &after);
        }
        if let Some(source) = &inner.source {
            out.field("source", source);
        }
        out.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

const _: fn() = || {
    fn send_sync<T: Send + Sync + Clone + 'static>() {}
    send_sync::<Error>();
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effect_is_unknown_until_the_engine_is_sure() {
        let error = Error::new(ErrorKind::TimedOut, "http.request", "no head within 5 s");
        assert_eq!(error.effect(), Effect::Unknown);
        assert!(error.is_retryable(true) && !error.is_retryable(false));
        assert!(error.not_applied().is_retryable(false));
    }

    #[test]
    fn our_error_is_found_behind_an_io_error() {
        let ours = Error::new(ErrorKind::PermissionDenied, "connect.dial", "refused").not_applied();
        let wrapped = std::io::Error::other(ours);
        let twice = std::io::Error::other(wrapped);
        let found = Error::find_in(&twice).expect("the chain holds ours");
        assert_eq!((found.kind(), found.effect()), (ErrorKind::PermissionDenied, Effect::NotApplied));
    }
}
