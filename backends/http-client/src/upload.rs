//! A streamed request body on its way: how much was sent, and when it ended.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use onex_spi::http::HttpBody;
use onex_spi::{Clock, Error, Result};

use crate::metrics::Metrics;

/// When the request body was polled to its end or let go; the head and idle clocks start there.
///
/// The transport may poll the body on another task than the one that waits for the head, so the end wakes the waiter.
#[derive(Debug, Default)]
pub(crate) struct Upload(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    ended: Option<Instant>,
    waiter: Option<Waker>,
}

/// A whole body up to this size counts as sent when the attempt begins: it leaves in one write.
const AT_ONCE: usize = 64 << 10;

impl Upload {
    /// Watches `body`, where its end is not the attempt's begin and somebody asks for it.
    pub(crate) fn watch(
        body: &mut HttpBody,
        head_limit: bool,
        metrics: &Arc<Metrics>,
        clock: &Arc<dyn Clock>,
    ) -> Option<Arc<Self>> {
        if body.as_bytes().is_some_and(|bytes| bytes.len() <= AT_ONCE || !head_limit) {
            return None;
        }
        let upload = Arc::new(Self::default());
        let watched = Uploading {
            inner: std::mem::take(body),
            upload: upload.clone(),
            metrics: metrics.clone(),
            clock: clock.clone(),
        };
        *body = HttpBody::new(watched);
        Some(upload)
    }

    /// When the body ended; if it has not, `cx` is woken when it does.
    pub(crate) fn ended(&self, cx: &Context<'_>) -> Option<Instant> {
        let mut state = self.state();
        if state.ended.is_none() {
            match &mut state.waiter {
                Some(waiter) => waiter.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        state.ended
    }

    fn end(&self, now: Instant) {
        let waiter = {
            let mut state = self.state();
            state.ended.get_or_insert(now);
            state.waiter.take()
        };
        waiter.into_iter().for_each(Waker::wake);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Uploading {
    inner: HttpBody,
    upload: Arc<Upload>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

#[deny(clippy::missing_trait_methods)]
impl Body for Uploading {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx));
        let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref);
        self.metrics.add_sent(data.map_or(0, Bytes::len));
        // A transport that sees the end coming does not poll for it.
        if !matches!(frame, Some(Ok(_))) || self.inner.is_end_stream() {
            self.upload.end(self.clock.now());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Uploading {
    /// A transport that answers early lets the rest of the body go.
    fn drop(&mut self) {
        self.upload.end(self.clock.now());
    }
}
