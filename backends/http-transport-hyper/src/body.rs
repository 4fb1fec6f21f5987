//! The answer's body: whole at the head where it is here already, else a stream that holds the lease.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use onex_spi::Error;
use onex_spi::http::HttpBody;

use crate::error;
use crate::lease::Lease;

type Polled = Option<Result<Frame<Bytes>, hyper::Error>>;

/// The body of one answer and the connection that it arrives on.
pub(crate) struct Answer {
    /// Bytes that came with the head.
    early: Option<Bytes>,
    /// What came right behind them, or instead of them; rare, so not inline.
    behind: Option<Box<Result<Frame<Bytes>, hyper::Error>>>,
    incoming: Incoming,
    /// Gone once the body has ended or failed.
    lease: Option<Lease>,
    reusable: bool,
    received: u64,
}

impl Answer {
    /// `reusable` is false where the head was ambiguous about its framing.
    pub(crate) fn new(incoming: Incoming, lease: Lease, reusable: bool) -> Self {
        Self { early: None, behind: None, incoming, lease: Some(lease), reusable, received: 0 }
    }

    /// Takes what is here already; ready at once. The end ends the lease.
    pub(crate) fn poll_early(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.incoming.is_end_stream() {
            self.end();
            return Poll::Ready(());
        }
        for _ in 0..2 {
            match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Pending => break,
                Poll::Ready(None) => {
                    self.end();
                    break;
                }
                Poll::Ready(Some(Ok(frame))) if self.early.is_none() && frame.is_data() => {
                    self.early = frame.into_data().ok();
                    if self.incoming.is_end_stream() {
                        self.end();
                        break;
                    }
                }
                Poll::Ready(Some(other)) => {
                    self.behind = Some(Box::new(other));
                    break;
                }
            }
        }
        Poll::Ready(())
    }

    /// A complete body needs no stream and no box.
    pub(crate) fn into_body(self) -> HttpBody {
        if self.lease.is_none() && self.behind.is_none() {
            return self.early.map_or(HttpBody::EMPTY, HttpBody::from);
        }
        HttpBody::new(self)
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Polled> {
        if let Some(early) = self.early.take() {
            return Poll::Ready(Some(Ok(Frame::data(early))));
        }
        if let Some(behind) = self.behind.take() {
            return Poll::Ready(Some(*behind));
        }
        if self.lease.is_none() {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.incoming).poll_frame(cx)
    }

    fn end(&mut self) {
        if let Some(lease) = self.lease.take()
            && self.reusable
        {
            lease.finish();
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let Poll::Ready(polled) = this.next(cx) else { return Poll::Pending };
        Poll::Ready(match polled {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    this.received += data.len() as u64;
                }
                // The last byte of an announced length is the end: nobody need poll for it.
                if this.behind.is_none() && this.incoming.is_end_stream() {
                    this.end();
                }
                Some(Ok(frame))
            }
            Some(Err(engine)) => {
                let cut = this.lease.take().is_some_and(|lease| lease.was_cut());
                Some(Err(error::body(engine, this.received, cut)))
            }
            None => {
                this.end();
                None
            }
        })
    }

    fn size_hint(&self) -> SizeHint {
        let behind = self.behind.as_deref().and_then(|polled| polled.as_ref().ok()?.data_ref());
        let early: u64 = self.early.iter().chain(behind).map(|data| data.len() as u64).sum();
        let rest = self.incoming.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + early);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + early);
        }
        hint
    }
}
