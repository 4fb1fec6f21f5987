//! Work against a time limit, on one movable timer.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use onex_spi::http::HttpPhase;
use onex_spi::{Clock, Timer};

/// A point in time and the phase that it cuts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    pub(crate) at: Instant,
    pub(crate) phase: HttpPhase,
}

impl Limit {
    /// The earlier of two limits.
    pub(crate) fn earlier(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => Some(if other.at < one.at { other } else { one }),
            (one, other) => one.or(other),
        }
    }
}

/// One timer for a call, made when something first has to wait, then moved from wait to wait.
#[derive(Default)]
pub(crate) struct TimerSlot(Option<Box<dyn Timer>>);

impl TimerSlot {
    pub(crate) fn poll_at(&mut self, clock: &dyn Clock, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        self.0.get_or_insert_with(|| clock.timer()).poll_at(at, cx)
    }

    pub(crate) async fn wait_until(&mut self, clock: &dyn Clock, at: Instant) {
        std::future::poll_fn(|cx| self.poll_at(clock, at, cx)).await;
    }
}

/// Polls `work` first, so that a result at the very limit is a result; asks for the limit anew at every poll, because
/// one may begin only while the work goes on.
pub(crate) async fn race<F: Future + ?Sized>(
    mut work: Pin<&mut F>,
    clock: &dyn Clock,
    timer: &mut TimerSlot,
    mut limit: impl FnMut(&mut Context<'_>) -> Option<Limit>,
) -> Result<F::Output, HttpPhase> {
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = work.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        match limit(cx) {
            Some(limit) => timer.poll_at(clock, limit.at, cx).map(|()| Err(limit.phase)),
            None => Poll::Pending,
        }
    })
    .await
}
