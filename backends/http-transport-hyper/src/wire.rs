//! The stream under hyper: a failed write is kept back until the reading side has said what it has.
//!
//! A server may answer early (413) and close while the request is still being sent. The write then fails
//! although the answer stands in the receive buffer; hyper would report the write and lose the answer.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A dialled stream that tells of a broken write only at the end of what can be read.
pub(crate) struct Wire {
    io: onex_connect::Connection,
    write: Write,
}

enum Write {
    Works,
    Failed(io::Error),
    Told,
}

impl Wire {
    pub(crate) fn new(io: onex_connect::Connection) -> Self {
        Self { io, write: Write::Works }
    }

    fn kept<T>(
        &mut self,
        write: impl FnOnce(Pin<&mut onex_connect::Connection>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if !matches!(self.write, Write::Works) {
            return Poll::Pending;
        }
        match write(Pin::new(&mut self.io)) {
            Poll::Ready(Err(error)) => {
                self.write = Write::Failed(error);
                Poll::Pending
            }
            other => other,
        }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Wire").field(&self.io).finish()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        let at_end = matches!(read, Poll::Ready(Ok(()))) && buf.filled().len() == before;
        if at_end && matches!(self.write, Write::Failed(_)) {
            // The end of a broken stream is no end of a message.
            if let Write::Failed(error) = std::mem::replace(&mut self.write, Write::Told) {
                return Poll::Ready(Err(error));
            }
        }
        read
    }
}

#[deny(clippy::missing_trait_methods)]
impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.kept(|io| io.poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.kept(|io| io.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.write {
            Write::Works => Pin::new(&mut self.io).poll_shutdown(cx),
            // There is nobody left to be told.
            Write::Failed(_) | Write::Told => Poll::Ready(Ok(())),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.kept(|io| io.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
