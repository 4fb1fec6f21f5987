//! The body of a request or response.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

use super::HttpReason;
use crate::{Error, ErrorKind, Result};

/// A body: empty, whole, one-shot or replayable; a stream of frames (data, then trailers).
///
/// It is an [`http_body::Body`] of [`Bytes`] with our [`Error`], so that hyper, reqwest and axum take it
/// as it is. A one-shot stream is sent at most once; [`HttpBody::replayable`] makes one that can be sent again.
///
/// # Examples
/// ```
/// # async fn example() -> onex_spi::Result<()> {
/// use onex_spi::http::HttpBody;
///
/// let body = HttpBody::from("hello");
/// assert_eq!(body.bytes(1024).await?, "hello");
/// # Ok(())
/// # }
/// ```
pub struct HttpBody(Kind);

type Stream = Pin<Box<dyn Body<Data = Bytes, Error = Error> + Send>>;

enum Kind {
    Whole(Bytes),
    /// The mutex makes the body `Sync`; it is only ever opened with `get_mut`, never locked.
    Stream(Mutex<Stream>, SizeHint),
    Replayable(Arc<dyn Fn() -> HttpBody + Send + Sync>, Option<u64>, Option<Box<HttpBody>>),
}

impl HttpBody {
    /// No body at all.
    pub const EMPTY: Self = Self(Kind::Whole(Bytes::new()));

    /// Wraps a one-shot stream of frames.
    pub fn new<B>(body: B) -> Self
    where
        B: Body<Data = Bytes, Error = Error> + Send + 'static,
    {
        let hint = body.size_hint();
        Self(Kind::Stream(Mutex::new(Box::pin(body)), hint))
    }

    /// Makes a body that `make` can produce again for each attempt; `len` is its exact length, where known.
    pub fn replayable(make: impl Fn() -> Self + Send + Sync + 'static, len: Option<u64>) -> Self {
        Self(Kind::Replayable(Arc::new(make), len, None))
    }

    /// A second copy from the start, or `None` for a one-shot stream.
    #[must_use]
    pub fn try_clone(&self) -> Option<Self> {
        match &self.0 {
            Kind::Whole(bytes) => Some(Self(Kind::Whole(bytes.clone()))),
            Kind::Stream(..) => None,
            Kind::Replayable(make, len, _) => Some(Self(Kind::Replayable(make.clone(), *len, None))),
        }
    }

    /// The bytes, where the whole body is already here.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match &self.0 {
            Kind::Whole(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The next frame; `None` at the end.
    ///
    /// # Cancellation
    /// Loses nothing: the next call goes on where this one stopped.
    pub async fn frame(&mut self) -> Option<Result<Frame<Bytes>>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx)).await
    }

    /// Reads the whole body into memory; trailers are dropped.
    ///
    /// # Errors
    /// `TooLarge` with [`HttpReason::BodyTooLarge`] as soon as more than `limit` bytes arrived; else what the stream met.
    /// # Cancellation
    /// Drops the body, which frees its connection.
    pub async fn bytes(mut self, limit: usize) -> Result<Bytes> {
        let mut first = Bytes::new();
        let mut rest: Option<BytesMut> = None;
        while let Some(frame) = self.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            let have = rest.as_ref().map_or(first.len(), BytesMut::len);
            if have.saturating_add(data.len()) > limit {
                let message =
                    format!("the body is larger than the limit of {limit} bytes; raise it or read by frames");
                return Err(Error::new(ErrorKind::TooLarge, "http.body", message)
                    .with_detail(HttpReason::BodyTooLarge));
            }
            match &mut rest {
                Some(buffer) => buffer.extend_from_slice(&data),
                None if first.is_empty() => first = data,
                None => rest = Some([&first[..], &data[..]].concat().as_slice().into()),
            }
        }
        Ok(rest.map_or(first, BytesMut::freeze))
    }
}

impl Body for HttpBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        match &mut self.0 {
            Kind::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Stream(stream, hint) => {
                let stream = stream.get_mut().unwrap_or_else(PoisonError::into_inner);
                let frame = stream.as_mut().poll_frame(cx);
                *hint = stream.size_hint();
                frame
            }
            Kind::Replayable(make, _, current) => {
                let current = current.get_or_insert_with(|| Box::new(make()));
                Pin::new(&mut **current).poll_frame(cx)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(bytes) => bytes.is_empty(),
            Kind::Stream(_, hint) => hint.exact() == Some(0),
            Kind::Replayable(_, len, current) => match current {
                Some(current) => current.is_end_stream(),
                None => *len == Some(0),
            },
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream(_, hint) => *hint,
            Kind::Replayable(_, len, current) => match (current, len) {
                (Some(current), _) => current.size_hint(),
                (None, Some(len)) => SizeHint::with_exact(*len),
                (None, None) => SizeHint::default(),
            },
        }
    }
}

impl Default for HttpBody {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl From<Bytes> for HttpBody {
    fn from(bytes: Bytes) -> Self {
        Self(Kind::Whole(bytes))
    }
}

impl From<&'static str> for HttpBody {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<String> for HttpBody {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<Vec<u8>> for HttpBody {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<serde_json::Value> for HttpBody {
    fn from(value: serde_json::Value) -> Self {
        value.to_string().into()
    }
}

impl fmt::Debug for HttpBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Whole(bytes) => write!(f, "HttpBody({} bytes)", bytes.len()),
            Kind::Stream(..) => f.write_str("HttpBody(one-shot stream)"),
            Kind::Replayable(..) => f.write_str("HttpBody(replayable)"),
        }
    }
}

const _: fn() = || {
    fn send_sync<T: Send + Sync + Unpin + 'static>() {}
    send_sync::<HttpBody>();
};

#[cfg(test)]
mod tests {
    use super::*;

    struct Chunks(Vec<&'static str>);

    impl Body for Chunks {
        type Data = Bytes;
        type Error = Error;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
            if self.0.is_empty() {
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(self.0.remove(0).as_bytes())))))
        }
    }

    #[tokio::test]
    async fn a_stream_is_one_shot_and_bounded() {
        let body = HttpBody::new(Chunks(vec!["ab", "cd", "e"]));
        assert!(body.try_clone().is_none());
        assert_eq!(body.bytes(5).await.expect("five bytes fit"), "abcde");
        let error = HttpBody::new(Chunks(vec!["ab", "cd", "e"])).bytes(4).await.expect_err("too large");
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }

    #[tokio::test]
    async fn a_replayable_body_starts_again() {
        let body = HttpBody::replayable(|| HttpBody::new(Chunks(vec!["x", "y"])), Some(2));
        let again = body.try_clone().expect("replayable");
        assert_eq!(body.bytes(9).await.expect("read"), "xy");
        assert_eq!(again.size_hint().exact(), Some(2));
        assert_eq!(again.bytes(9).await.expect("read"), "xy");
    }
}
