//! Bugs in bodies: how they end, what is lost of them, when they are read.

use std::sync::Arc;

use ::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use ::http::{HeaderMap, Method, StatusCode};
use async_trait::async_trait;
use bytes::Bytes;
use http_body::Frame;
use onex_spi::http::{HttpReason, HttpRequest, HttpResponse, HttpTransport};
use onex_spi::{Error, ErrorKind, Result};

use super::wrapper::{Bug, add, each_frame};
use crate::broken::Broken;

pub(super) const BUGS: &[Broken<dyn HttpTransport>] = &[
    Broken::new(
        "takes_a_cut_body_for_whole",
        "HTTP-7",
        &["http.failing_response_body", "http.short_body_fin", "http.short_body_rst", "http.chunked_cut"],
        add::<TakesCutForWhole>,
    ),
    Broken::new(
        "forgets_the_bytes_received",
        "HTTP-7",
        &["http.short_body_fin", "http.short_body_rst", "http.chunked_cut"],
        add::<ForgetsBytes>,
    ),
    Broken::new(
        "takes_a_broken_chunk_for_the_end",
        "HTTP-8",
        &["http.chunked_broken"],
        add::<TakesBrokenForEnd>,
    ),
    Broken::new(
        "loses_trailers",
        "HTTP-9",
        &["http.response_trailers", "http.chunked_trailers"],
        add::<LosesTrailers>,
    ),
    Broken::new("doubts_a_body_without_length", "HTTP-7", &["http.body_codings"], add::<DoubtsUntilTheEnd>),
    Broken::new(
        "takes_a_failing_request_for_whole",
        "HTTP",
        &["http.failing_request_body"],
        add::<TakesFailingRequest>,
    ),
    Broken::new("buffers_the_request", "HTTP", &["http.streams_both_ways"], add::<BuffersRequest>),
];

type Item = Option<Result<Frame<Bytes>>>;

fn is_protocol(error: &Error) -> bool {
    error.http().is_some_and(|fault| fault.reason == HttpReason::Protocol)
}

/// Takes the end of a connection for the loss of a body that it ends.
#[derive(Debug, Default)]
struct DoubtsUntilTheEnd;

impl Bug for DoubtsUntilTheEnd {
    fn result(method: &Method, result: Result<HttpResponse>) -> Result<HttpResponse> {
        fn change(item: Item) -> Item {
            let lost = || Error::new(ErrorKind::Unavailable, "http.body", "the connection ended");
            item.or_else(|| Some(Err(lost())))
        }
        let framed = |headers: &HeaderMap| {
            headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING)
        };
        result.map(|response| match method != Method::HEAD && !framed(&response.headers) {
            true => each_frame(response, change),
            false => response,
        })
    }
}

#[derive(Debug, Default)]
struct TakesFailingRequest;

impl Bug for TakesFailingRequest {
    fn request(mut request: HttpRequest) -> HttpRequest {
        if request.body.as_bytes().is_none() {
            let carrier = HttpResponse::new(StatusCode::OK, std::mem::take(&mut request.body));
            request.body = each_frame(carrier, |item| item.filter(Result::is_ok)).into_body();
        }
        request
    }
}

#[derive(Debug, Default)]
struct TakesCutForWhole;

impl Bug for TakesCutForWhole {
    fn result(_: &Method, result: Result<HttpResponse>) -> Result<HttpResponse> {
        fn change(item: Item) -> Item {
            item.filter(|frame| frame.as_ref().err().is_none_or(is_protocol))
        }
        result.map(|response| each_frame(response, change))
    }
}

#[derive(Debug, Default)]
struct TakesBrokenForEnd;

impl Bug for TakesBrokenForEnd {
    fn result(_: &Method, result: Result<HttpResponse>) -> Result<HttpResponse> {
        fn change(item: Item) -> Item {
            item.filter(|frame| !frame.as_ref().err().is_some_and(is_protocol))
        }
        result.map(|response| each_frame(response, change))
    }
}

#[derive(Debug, Default)]
struct ForgetsBytes;

impl Bug for ForgetsBytes {
    fn result(_: &Method, result: Result<HttpResponse>) -> Result<HttpResponse> {
        fn forget(error: Error) -> Error {
            match error.http().cloned() {
                Some(mut fault) => {
                    fault.bytes_received = None;
                    error.with_detail(fault)
                }
                None => error,
            }
        }
        fn change(item: Item) -> Item {
            item.map(|frame| frame.map_err(forget))
        }
        result.map(|response| each_frame(response, change))
    }
}

#[derive(Debug, Default)]
struct LosesTrailers;

impl Bug for LosesTrailers {
    fn result(_: &Method, result: Result<HttpResponse>) -> Result<HttpResponse> {
        fn change(item: Item) -> Item {
            item.filter(|frame| !frame.as_ref().is_ok_and(Frame::is_trailers))
        }
        result.map(|response| each_frame(response, change))
    }
}

#[derive(Debug, Default)]
struct BuffersRequest;

#[async_trait]
impl Bug for BuffersRequest {
    async fn exchange(
        &self,
        good: &Arc<dyn HttpTransport>,
        mut request: HttpRequest,
    ) -> Result<HttpResponse> {
        request.body = std::mem::take(&mut request.body).bytes(usize::MAX).await?.into();
        good.exchange(request).await
    }
}
