//! The body of a response: whole at the head where it is small and there, else a stream that holds its place.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use onex_spi::http::HttpBody;
use onex_spi::{Error, Pass, Result};

use crate::error;

/// A body up to this size that has arrived with its head is handed out whole: its connection is free at once.
const AT_ONCE: u64 = 64 << 10;

/// Makes our body; looks once whether it is all there.
pub(crate) async fn of(mut inner: reqwest::Body, pass: Pass) -> HttpBody {
    if inner.is_end_stream() {
        return HttpBody::EMPTY;
    }
    let mut first = None;
    if inner.size_hint().exact().is_some_and(|length| length <= AT_ONCE) {
        let polled = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut inner).poll_frame(cx))).await;
        match polled {
            Poll::Pending => {}
            Poll::Ready(None) => return HttpBody::EMPTY,
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) if inner.is_end_stream() => return data.into(),
                Ok(data) => first = Some(Ok(Frame::data(data))),
                Err(frame) => first = Some(Ok(frame)),
            },
            Poll::Ready(Some(Err(engine))) => first = Some(Err(engine)),
        }
    }
    HttpBody::new(Arriving { inner: Some((inner, pass)), first, received: 0 })
}

struct Arriving {
    /// Gone at the end, so that the exchange ends with its body and not with the caller's last handle.
    inner: Option<(reqwest::Body, Pass)>,
    first: Option<Result<Frame<Bytes>, reqwest::Error>>,
    received: u64,
}

#[deny(clippy::missing_trait_methods)]
impl Body for Arriving {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let this = &mut *self;
        let Some((inner, pass)) = &mut this.inner else { return Poll::Ready(None) };
        let frame = match this.first.take() {
            Some(first) => Some(first),
            None => match Pin::new(&mut *inner).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    std::task::ready!(pass.poll_cut(cx));
                    this.inner = None;
                    return Poll::Ready(Some(Err(error::cut_by_close())));
                }
            },
        };
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                this.received += frame.data_ref().map_or(0, |data| data.len() as u64);
                if inner.is_end_stream() {
                    this.inner = None;
                }
                Some(Ok(frame))
            }
            Some(Err(engine)) => {
                this.inner = None;
                Some(Err(error::body(engine, this.received)))
            }
            None => {
                this.inner = None;
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let Some((inner, _)) = &self.inner else { return SizeHint::with_exact(0) };
        let held = self.first.as_ref().and_then(|first| first.as_ref().ok()).and_then(Frame::data_ref);
        let held = held.map_or(0, |data| data.len() as u64);
        match inner.size_hint().exact() {
            Some(rest) => SizeHint::with_exact(rest + held),
            None => SizeHint::default(),
        }
    }
}
