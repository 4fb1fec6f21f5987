//! The body of a response while an engine receives it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{HttpBody, HttpFault, HttpReason};
use crate::{Error, Pass, Result};

/// A body up to this size that has arrived with its head is handed out whole.
const AT_ONCE: u64 = 64 << 10;

impl HttpBody {
    /// Wraps the body of a response that an engine receives in the exchange that `pass` lets run.
    ///
    /// A small body that is here already is handed out whole, so that its connection is free at once. Any other one is a
    /// stream that ends its exchange at its own end, at its failure (`failed` tells it, with the bytes received before) and
    /// where a close cuts it.
    ///
    /// # Cancellation
    /// Drops the body, which ends its exchange.
    pub async fn arriving<B>(mut inner: B, pass: Pass, failed: fn(B::Error, u64) -> Error) -> Self
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Send,
    {
        if inner.is_end_stream() {
            return Self::EMPTY;
        }
        let mut first = None;
        if inner.size_hint().exact().is_some_and(|length| length <= AT_ONCE) {
            let polled = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut inner).poll_frame(cx))).await;
            match polled {
                Poll::Pending => {}
                Poll::Ready(None) => return Self::EMPTY,
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if inner.is_end_stream() => return data.into(),
                    Ok(data) => first = Some(Ok(Frame::data(data))),
                    Err(frame) => first = Some(Ok(frame)),
                },
                Poll::Ready(Some(Err(engine))) => first = Some(Err(engine)),
            }
        }
        Self::new(Arriving { inner: Some((inner, pass)), first, received: 0, failed })
    }
}

struct Arriving<B: Body> {
    /// Gone at the end, so that the exchange ends with its body and not with the caller's last handle.
    inner: Option<(B, Pass)>,
    first: Option<Result<Frame<Bytes>, B::Error>>,
    received: u64,
    failed: fn(B::Error, u64) -> Error,
}

// Nothing in here is pinned but `inner`, which need not be.
impl<B: Body> Unpin for Arriving<B> {}

#[deny(clippy::missing_trait_methods)]
impl<B: Body<Data = Bytes> + Unpin> Body for Arriving<B> {
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
                    ready!(pass.poll_cut(cx));
                    let fault = HttpFault::new(HttpReason::IncompleteBody).with_bytes_received(this.received);
                    let cut = pass.cut_error("http.body").with_detail(fault);
                    this.inner = None;
                    return Poll::Ready(Some(Err(cut)));
                }
            },
        };
        let ended = match &frame {
            Some(Ok(frame)) => {
                this.received += frame.data_ref().map_or(0, |data| data.len() as u64);
                // The last byte of an announced length is the end: nobody need ask for it.
                inner.is_end_stream()
            }
            Some(Err(_)) | None => true,
        };
        if ended {
            this.inner = None;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|engine| (this.failed)(engine, this.received))))
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

#[cfg(all(test, feature = "tokio"))]
mod tests {
    use std::collections::VecDeque;
    use std::io;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::http::body_failed;
    use crate::{ErrorKind, Gate, TokioClock};

    /// Frames, then silence or the end.
    struct Script {
        frames: VecDeque<io::Result<&'static str>>,
        left: Option<u64>,
        silent: bool,
    }

    fn script<const N: usize>(frames: [io::Result<&'static str>; N], left: Option<u64>) -> Script {
        Script { frames: frames.into(), left, silent: false }
    }

    impl Body for Script {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
            let Some(frame) = self.frames.pop_front() else {
                return if self.silent { Poll::Pending } else { Poll::Ready(None) };
            };
            if let (Ok(text), Some(left)) = (&frame, &mut self.left) {
                *left -= text.len() as u64;
            }
            Poll::Ready(Some(frame.map(|text| Frame::data(Bytes::from_static(text.as_bytes())))))
        }

        fn is_end_stream(&self) -> bool {
            self.left == Some(0)
        }

        fn size_hint(&self) -> SizeHint {
            self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
        }
    }

    fn gate() -> Gate {
        Gate::new("the transport", Arc::new(TokioClock::new()))
    }

    #[tokio::test]
    async fn what_is_here_already_is_whole_and_its_exchange_is_over() {
        let gate = gate();
        let body = HttpBody::arriving(script([Ok("hello")], Some(5)), gate.stay(), body_failed).await;
        assert_eq!((body.as_bytes().map(|bytes| &bytes[..]), gate.inside()), (Some(&b"hello"[..]), 0));
        let body = HttpBody::arriving(script([], Some(0)), gate.stay(), body_failed).await;
        assert_eq!((body.as_bytes().map(Bytes::len), gate.inside()), (Some(0), 0));
    }

    #[tokio::test]
    async fn a_stream_holds_its_exchange_until_its_last_byte() {
        let gate = gate();
        let frames = script([Ok("hel"), Ok("lo")], Some(5));
        let mut body = HttpBody::arriving(frames, gate.stay(), body_failed).await;
        assert_eq!((body.size_hint().exact(), gate.inside()), (Some(5), 1));
        for (text, left, inside) in [("hel", 2, 1), ("lo", 0, 0)] {
            let data = body.frame().await.expect("a frame").expect("good").into_data().expect("data");
            assert_eq!(
                (&data[..], body.size_hint().exact(), gate.inside()),
                (text.as_bytes(), Some(left), inside)
            );
        }
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn a_failure_tells_the_bytes_before_it_and_ends_the_exchange() {
        let gate = gate();
        let frames = script([Ok("hel"), Err(io::ErrorKind::ConnectionReset.into())], None);
        let mut body = HttpBody::arriving(frames, gate.stay(), body_failed).await;
        body.frame().await.expect("a frame").expect("good");
        let error = body.frame().await.expect("a frame").expect_err("reset");
        let fault = error.http().expect("a fault");
        assert_eq!((fault.reason, fault.bytes_received), (HttpReason::ConnectionReset, Some(3)));
        assert_eq!(gate.inside(), 0);
        assert!(body.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_close_cuts_a_body_that_stays_silent() {
        let gate = gate();
        let frames = Script { silent: true, ..script([Ok("hel")], None) };
        let mut body = HttpBody::arriving(frames, gate.stay(), body_failed).await;
        body.frame().await.expect("a frame").expect("good");
        gate.begin_close(Duration::from_secs(1));
        let error = body.frame().await.expect("a frame").expect_err("cut");
        let bytes = error.http().and_then(|fault| fault.bytes_received);
        assert_eq!((error.kind(), bytes, gate.inside()), (ErrorKind::Closed, Some(3), 0));
    }
}
