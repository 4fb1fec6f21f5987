//! A response body that is still arriving: counted, with the idle limit and the rest of the total limit.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use onex_spi::http::{HttpBody, HttpPhase};
use onex_spi::{Clock, Effect, Error, Pass, Result};

use crate::error;
use crate::metrics::Metrics;
use crate::race::{Limit, TimerSlot};
use crate::upload::Upload;

/// The limits of a body, and what they are measured with.
pub(crate) struct Reading {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) timer: TimerSlot,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) idle: Option<Duration>,
    pub(crate) total: Option<Instant>,
    /// The request body, if it is streamed: silence counts only once it has ended.
    pub(crate) upload: Option<Arc<Upload>>,
    pub(crate) pass: Pass,
}

/// Hands a transport's body on.
pub(crate) struct PolicyBody {
    inner: HttpBody,
    received: u64,
    /// Since when the peer is silent: the first poll that found nothing. A caller who does not read stops no clock.
    silent_since: Option<Instant>,
    /// Gone at the end, so that a close waits for the body and not for the caller's last handle.
    reading: Option<Reading>,
}

impl PolicyBody {
    pub(crate) fn new(inner: HttpBody, reading: Reading) -> Self {
        Self { inner, received: 0, silent_since: None, reading: Some(reading) }
    }

    /// Lets go of everything; the connection is free or closed from here on.
    fn end(&mut self) {
        self.inner = HttpBody::EMPTY;
        self.reading = None;
    }

    fn poll_limits(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let Some(reading) = &mut self.reading else { return Poll::Pending };
        let total = reading.total.map(|at| Limit { at, phase: HttpPhase::TotalBody });
        let uploading = reading.upload.as_ref().is_some_and(|upload| upload.ended(cx).is_none());
        let idle = reading.idle.filter(|_| !uploading).and_then(|idle| {
            let since = *self.silent_since.get_or_insert_with(|| reading.clock.now());
            Some(Limit { at: since.checked_add(idle)?, phase: HttpPhase::IdleRead })
        });
        let Some(limit) = Limit::earlier(total, idle) else { return Poll::Pending };
        std::task::ready!(reading.timer.poll_at(&*reading.clock, limit.at, cx));
        let told = (limit.phase == HttpPhase::IdleRead).then_some(reading.idle).flatten();
        Poll::Ready(self.late(limit.phase, told))
    }

    fn late(&self, phase: HttpPhase, limit: Option<Duration>) -> Error {
        let late = error::timed_out(phase, limit, Effect::Unknown);
        match late.http().cloned() {
            Some(fault) => late.with_detail(fault.with_bytes_received(self.received)),
            None => late,
        }
    }
}

#[deny(clippy::missing_trait_methods)]
impl Body for PolicyBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let this = &mut *self;
        let Some(reading) = &mut this.reading else { return Poll::Ready(None) };
        // Looked at first: a peer that always has more would never let the limits be reached.
        if reading.pass.poll_cut(cx).is_ready() {
            this.end();
            return Poll::Ready(Some(Err(error::cut_by_close())));
        }
        if reading.total.is_some_and(|at| reading.clock.now() > at) {
            let late = this.late(HttpPhase::TotalBody, None);
            this.end();
            return Poll::Ready(Some(Err(late)));
        }
        let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) else {
            let late = std::task::ready!(this.poll_limits(cx));
            this.end();
            return Poll::Ready(Some(Err(late)));
        };
        this.silent_since = None;
        if let Some(Ok(frame)) = &frame {
            let data = frame.data_ref().map_or(0, Bytes::len);
            this.received += data as u64;
            reading.metrics.add_received(data);
        }
        if !matches!(frame, Some(Ok(_))) || this.inner.is_end_stream() {
            this.end();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.reading.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
