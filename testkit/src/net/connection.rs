//! One connection of a scripted server, over any stream.
//!
//! ```text
//!  script:   head ─► log ─► body ─► log ─► steps ─► next head
//!  service:  head ─► log ─► ┬ pump: body ─► log ─► handler's body; then watches for the peer's end
//!                           └ answer: handler ─► head and body written            whichever ends first: a peer
//!                                                                                that leaves cancels its handler
//! ```

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use ::http::{HeaderMap, Method, StatusCode, Uri, header};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use onex_spi::http::{
    HttpBody, HttpFault, HttpPeer, HttpReason, HttpRequest, HttpResponse, HttpService, HttpUrl,
};
use onex_spi::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use super::Answer;
use super::h1::{Framing, Head, Reader, bodyless, broken, frame_headers, write_body, write_headers};
use super::log::Connected;
use super::script::{Script, Step};

/// The sending half of a stream that can also be reset.
pub(super) trait Outgoing: AsyncWrite + Unpin + Send {
    /// Ends the stream so that the peer meets a reset; the reading half is dropped next.
    fn reset(self: Box<Self>);
}

impl Outgoing for tokio::net::tcp::OwnedWriteHalf {
    fn reset(self: Box<Self>) {
        if let Err(error) = AsRef::<tokio::net::TcpStream>::as_ref(&*self).set_zero_linger() {
            tracing::warn!(%error, "the connection will end without a reset");
        }
        // A dropped half would say FIN first.
        self.forget();
    }
}

/// Answers what arrives until either side ends the connection.
pub(super) async fn run(
    read: impl AsyncRead + Unpin + Send,
    write: Box<dyn Outgoing>,
    peer: SocketAddr,
    answer: Answer,
    connected: Connected,
) {
    let reader = Reader::new(read);
    let ended = match answer {
        Answer::Script(script) => scripted(reader, write, &*script, connected).await,
        Answer::Service(service) => served(reader, write, peer, &*service, connected).await,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a scripted connection ended");
    }
}

async fn scripted<R: AsyncRead + Unpin + Send>(
    mut reader: Reader<R>,
    mut write: Box<dyn Outgoing>,
    script: &(dyn Fn(&super::Exchange) -> Script + Send + Sync),
    mut connected: Connected,
) -> io::Result<()> {
    while let Some(raw) = reader.head().await? {
        let exchange = connected.requested(raw.clone());
        let script = script(&exchange);
        if script.reads_body {
            let mut framing = Framing::of_request(&Head::parse(&raw)?.headers)?;
            while let Some((_, bytes)) = framing.next(&mut reader).await? {
                connected.read(exchange.number, &bytes, framing.is_done());
            }
            connected.read(exchange.number, &[], true);
        }
        for step in script.steps {
            match step {
                Step::Send(bytes) => {
                    write.write_all(&bytes).await?;
                    write.flush().await?;
                    connected.accepted(bytes.len());
                }
                Step::Bytewise(bytes) => {
                    for byte in bytes.chunks(1) {
                        write.write_all(byte).await?;
                        write.flush().await?;
                        connected.accepted(1);
                        tokio::task::yield_now().await;
                    }
                }
                Step::Every(bytes, period) => {
                    let mut ticks = tokio::time::interval(period);
                    for byte in bytes.chunks(1) {
                        ticks.tick().await;
                        write.write_all(byte).await?;
                        write.flush().await?;
                        connected.accepted(1);
                    }
                }
                Step::Endless(bytes) => loop {
                    write.write_all(&bytes).await?;
                    connected.accepted(bytes.len());
                    tokio::task::yield_now().await;
                },
                Step::Wait(gate) => gate.wait().await,
                Step::Fin => {
                    write.shutdown().await?;
                    return reader.until_end().await;
                }
                Step::Stall => return reader.until_end().await,
                Step::Close => return Ok(()),
                Step::Reset => {
                    write.reset();
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

async fn served<R: AsyncRead + Unpin + Send>(
    mut reader: Reader<R>,
    mut write: Box<dyn Outgoing>,
    peer: SocketAddr,
    service: &dyn HttpService,
    mut connected: Connected,
) -> io::Result<()> {
    while let Some(raw) = reader.head().await? {
        let exchange = connected.requested(raw.clone());
        let head = Head::parse(&raw)?;
        let method = head.method()?;
        let mut framing = Framing::of_request(&head.headers)?;
        let complete = Arc::new(AtomicBool::new(framing.is_done()));
        let (frames, arriving) = mpsc::channel(1);
        let length = match framing {
            Framing::Length(length) => Some(length),
            _ => None,
        };
        let body = match framing.is_done() {
            true => HttpBody::EMPTY,
            false => {
                HttpBody::new(Arriving { frames: arriving, complete: complete.clone(), length, received: 0 })
            }
        };
        let keep = !says_close(&head.headers);
        let request = request(head, &method, peer, body)?;
        let (fed, body_read) = oneshot::channel();
        let mut pump = pin!(async {
            let mut handler = Some(frames);
            while let Some((frame, bytes)) = framing.next(&mut reader).await? {
                connected.read(exchange.number, &bytes, framing.is_done());
                if framing.is_done() {
                    complete.store(true, Ordering::Release);
                }
                // A handler that dropped the body does not stop the reading: the connection is kept.
                if let Some(frames) = &handler
                    && frames.send(frame).await.is_err()
                {
                    handler = None;
                }
            }
            complete.store(true, Ordering::Release);
            connected.read(exchange.number, &[], true);
            drop(handler);
            let _ = fed.send(());
            while reader.fill().await? > 0 {}
            Ok::<_, io::Error>(())
        });
        let answer = async {
            let response = match service.exchange(request).await {
                Ok(response) => response,
                Err(error) => {
                    tracing::warn!(%error, "the handler failed");
                    HttpResponse::new(StatusCode::INTERNAL_SERVER_ERROR, HttpBody::EMPTY)
                }
            };
            respond(&mut write, &method, response).await
        };
        let keep = tokio::select! {
            answered = answer => answered? && keep,
            ended = &mut pump => return ended,
        };
        if !keep {
            return write.shutdown().await;
        }
        tokio::select! {
            ended = &mut pump => return ended,
            _ = body_read => {}
        }
    }
    Ok(())
}

fn says_close(headers: &HeaderMap) -> bool {
    headers.get(header::CONNECTION).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
}

fn request(head: Head, method: &Method, peer: SocketAddr, body: HttpBody) -> io::Result<HttpRequest> {
    let [_, target, _] = &head.first;
    let uri = if target.starts_with('/') {
        let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        format!("http://{}{target}", host.ok_or_else(|| broken("no host"))?)
    } else {
        target.clone()
    };
    let uri = Uri::try_from(uri).map_err(|_| broken("the target is no URI"))?;
    let mut request = HttpRequest::new(method.clone(), HttpUrl::from_uri(uri).map_err(io::Error::other)?);
    request.headers = head.headers;
    request.body = body;
    request.extensions.insert(HttpPeer::new(peer));
    Ok(request)
}

/// Writes a response; answers whether the connection may be kept.
async fn respond(write: &mut Box<dyn Outgoing>, method: &Method, response: HttpResponse) -> io::Result<bool> {
    let parts = response.into_parts();
    let (status, mut headers, body) = (parts.status, parts.headers, parts.body);
    let empty = bodyless(method, status);
    let chunked = (!empty || method == Method::HEAD) && frame_headers(&mut headers, &body);
    let mut head =
        format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or("Status"))
            .into_bytes();
    write_headers(&mut head, &headers);
    write.write_all(&head).await?;
    if empty {
        write.flush().await?;
    } else {
        write_body(write, body, chunked).await?;
    }
    Ok(!says_close(&headers))
}

/// A request body on its way to a handler.
struct Arriving {
    frames: mpsc::Receiver<Frame<Bytes>>,
    complete: Arc<AtomicBool>,
    length: Option<u64>,
    received: u64,
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let Poll::Ready(frame) = self.frames.poll_recv(cx) else { return Poll::Pending };
        Poll::Ready(match frame {
            Some(frame) => {
                self.received += frame.data_ref().map_or(0, Bytes::len) as u64;
                Some(Ok(frame))
            }
            None if self.complete.load(Ordering::Acquire) => None,
            None => {
                let fault = HttpFault::new(HttpReason::IncompleteBody).with_bytes_received(self.received);
                let error =
                    Error::new(ErrorKind::Unavailable, "http.body", "the client left inside the body");
                Some(Err(error.with_detail(fault)))
            }
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, |length| SizeHint::with_exact(length - self.received))
    }
}
