//! Bodies on their way: counted, held to their announced length, cut where the network says so.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use onex_spi::http::{HttpBody, HttpFault, HttpReason};
use onex_spi::{Error, ErrorKind, Pass, Result};

/// How a streamed request body fared, for the caller who sent it.
#[derive(Debug, Default)]
pub(super) struct Sent(Mutex<Option<Error>>);

impl Sent {
    /// What the caller's own body failed with.
    pub(super) fn error(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fail(&self, error: Error) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

/// A streamed request body, as the handler reads it.
pub(super) struct SentBody {
    inner: HttpBody,
    count: Count,
    sent: Arc<Sent>,
}

impl SentBody {
    pub(super) fn new(inner: HttpBody, announced: Option<u64>, sent: Arc<Sent>) -> Self {
        Self { inner, count: Count::new(announced), sent }
    }

    /// Fails for both sides: the caller's call with `error`, the handler's reading with a body that ended early.
    fn fail(&mut self, error: Error) -> Error {
        self.sent.fail(error);
        self.count.ended = true;
        incomplete(self.count.passed, "the request body ended early: the caller's stream failed")
    }
}

#[deny(clippy::missing_trait_methods)]
impl Body for SentBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let this = &mut *self;
        if this.count.ended {
            return Poll::Ready(None);
        }
        let frame = std::task::ready!(Pin::new(&mut this.inner).poll_frame(cx));
        Poll::Ready(match frame {
            Some(Ok(frame)) => match frame.data_ref().map_or(Ok(()), |data| this.count.add(data.len())) {
                Ok(()) => Some(Ok(frame)),
                Err(Mismatch) => Some(Err(this.fail(this.count.mismatch()))),
            },
            Some(Err(error)) => Some(Err(this.fail(error))),
            None if this.count.is_short() => Some(Err(this.fail(this.count.mismatch()))),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.count.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.count.left().map_or_else(|| self.inner.size_hint(), SizeHint::with_exact)
    }
}

/// Where and how a fault cuts a response body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) after: u64,
    pub(super) reason: HttpReason,
}

/// A response body that is still arriving; holds its exchange open.
pub(super) struct ArrivingBody {
    inner: HttpBody,
    count: Count,
    cut: Option<Cut>,
    /// Gone at the end, so that the exchange ends with its body and not with the caller's last handle.
    held: Option<Held>,
}

/// What a running exchange holds: its places inside both ends, each of which may cut it.
pub(super) struct Held {
    pub(super) transport: Pass,
    pub(super) listener: Option<Pass>,
}

impl ArrivingBody {
    pub(super) fn new(inner: HttpBody, announced: Option<u64>, cut: Option<Cut>, held: Held) -> Self {
        Self { inner, count: Count::new(announced), cut, held: Some(held) }
    }

    fn end(&mut self, error: Option<Error>) -> Poll<Option<Result<Frame<Bytes>>>> {
        self.count.ended = true;
        self.held = None;
        self.inner = HttpBody::EMPTY;
        Poll::Ready(error.map(Err))
    }

    /// What the fault says at this point of the body: it ends here, although there is more to come.
    fn at_cut(&self) -> Option<Error> {
        let cut = self.cut.filter(|cut| cut.after == self.count.passed)?;
        Some(ended_early(cut.reason, self.count.passed))
    }
}

#[deny(clippy::missing_trait_methods)]
impl Body for ArrivingBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let this = &mut *self;
        if this.count.ended {
            return Poll::Ready(None);
        }
        if let Some(error) = this.at_cut() {
            return this.end(Some(error));
        }
        let frame = match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let passed = this.count.passed;
                let Some(held) = &mut this.held else { return Poll::Pending };
                if held.transport.poll_cut(cx).is_ready() {
                    let cut = held.transport.cut_error("http.body");
                    return this.end(Some(cut));
                }
                let hung_up = held.listener.as_mut().is_some_and(|pass| pass.poll_cut(cx).is_ready());
                if hung_up {
                    return this.end(Some(ended_early(HttpReason::ConnectionReset, passed)));
                }
                return Poll::Pending;
            }
        };
        match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(mut data) => {
                    // A wire carries what was announced; more never leaves the server.
                    let announced = this.count.left().unwrap_or(u64::MAX);
                    let cut = this.cut.map_or(u64::MAX, |cut| cut.after - this.count.passed);
                    data.truncate(usize::try_from(announced.min(cut)).unwrap_or(usize::MAX));
                    this.count.passed += data.len() as u64;
                    if this.count.left() == Some(0) {
                        // Complete: the exchange ends now, not with the caller's last look.
                        let _ = this.end(None);
                    }
                    Poll::Ready(Some(Ok(Frame::data(data))))
                }
                Err(trailers) => Poll::Ready(Some(Ok(trailers))),
            },
            Some(Err(error)) => {
                let error = as_incomplete(error, this.count.passed);
                this.end(Some(error))
            }
            None => {
                let short = this.count.is_short();
                this.end(short.then(|| ended_early(HttpReason::IncompleteBody, this.count.passed)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.count.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.count.left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// The bytes that passed, against those that were announced.
struct Count {
    announced: Option<u64>,
    passed: u64,
    ended: bool,
}

struct Mismatch;

impl Count {
    fn new(announced: Option<u64>) -> Self {
        Self { announced, passed: 0, ended: false }
    }

    fn left(&self) -> Option<u64> {
        self.announced.map(|announced| announced - self.passed)
    }

    fn is_short(&self) -> bool {
        self.left().is_some_and(|left| left > 0)
    }

    fn add(&mut self, bytes: usize) -> std::result::Result<(), Mismatch> {
        if self.left().is_some_and(|left| bytes as u64 > left) {
            return Err(Mismatch);
        }
        self.passed += bytes as u64;
        Ok(())
    }

    /// What the caller is told whose body is not as long as announced.
    fn mismatch(&self) -> Error {
        let announced = self.announced.unwrap_or_default();
        let message = format!(
            "the request body is not the {announced} bytes that were announced; leave the length out"
        );
        Error::new(ErrorKind::InvalidInput, "http.exchange", message).with_detail(HttpReason::InvalidHeader)
    }
}

fn incomplete(passed: u64, message: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, "http.body", message)
        .with_detail(HttpFault::new(HttpReason::IncompleteBody).with_bytes_received(passed))
}

/// The response body ended after `passed` bytes, before its end (HTTP-7).
fn ended_early(reason: HttpReason, passed: u64) -> Error {
    let how = if reason == HttpReason::ConnectionReset { "was reset" } else { "ended" };
    let message = format!("the connection {how} after {passed} bytes of the response body, before its end");
    Error::new(ErrorKind::Unavailable, "http.body", message)
        .with_detail(HttpFault::new(reason).with_bytes_received(passed))
}

/// What a handler's failing body looks like at the other end; an HTTP fault of its own is kept.
fn as_incomplete(error: Error, passed: u64) -> Error {
    match error.http() {
        Some(fault) if fault.bytes_received.is_some() => error,
        Some(fault) => {
            let fault = fault.clone().with_bytes_received(passed);
            error.with_detail(fault)
        }
        None => ended_early(HttpReason::IncompleteBody, passed).with_source(error),
    }
}
