//! When the source is asked next: at once, after a pause that grows with its errors, or never again.

use std::task::Context;
use std::time::{Duration, Instant};

use onex_spi::bridge::BridgeRetry;
use onex_spi::{Error, Timer};

/// The shortest pause before a source that met an error is asked again, whatever the back-off says.
const SHORTEST: Duration = Duration::from_millis(1);

pub(crate) struct Asking {
    next: Next,
    /// Errors in turn.
    errors: u32,
    timer: Box<dyn Timer>,
}

enum Next {
    Now,
    At(Instant),
    Never,
}

impl Asking {
    pub(crate) fn new(timer: Box<dyn Timer>) -> Self {
        Self { next: Next::Now, errors: 0, timer }
    }

    pub(crate) fn is_now(&self) -> bool {
        matches!(self.next, Next::Now)
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.next, Next::Never)
    }

    /// Ends a pause before its time.
    pub(crate) fn hurry(&mut self) {
        if let Next::At(_) = self.next {
            self.next = Next::Now;
        }
    }

    /// Ends a pause whose time has come; wakes the task once it has.
    pub(crate) fn poll_pause(&mut self, cx: &mut Context<'_>) {
        if let Next::At(due) = self.next
            && self.timer.poll_at(due, cx).is_ready()
        {
            self.next = Next::Now;
        }
    }

    /// Notes that the source gave something; says whether it had met errors before.
    pub(crate) fn works(&mut self) -> bool {
        std::mem::take(&mut self.errors) > 0
    }

    pub(crate) fn end(&mut self) {
        self.next = Next::Never;
    }

    /// Notes an error, and answers the pause: later each time, and for a source there is no last attempt. `None` = it is asked no
    /// more.
    pub(crate) fn met(
        &mut self,
        error: &Error,
        retry: &BridgeRetry,
        now: Instant,
        random: u64,
    ) -> Option<Duration> {
        let endless = retry.clone().with_max_attempts(u32::MAX);
        self.errors = self.errors.saturating_add(1).min(u32::MAX - 1);
        let wait = endless.wait(self.errors, random).map(|wait| wait.max(SHORTEST));
        let wait = wait.filter(|_| error.is_retryable(true));
        let due = wait.and_then(|wait| now.checked_add(wait));
        self.next = due.map_or(Next::Never, Next::At);
        wait.filter(|_| due.is_some())
    }
}
