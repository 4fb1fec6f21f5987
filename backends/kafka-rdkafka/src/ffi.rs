//! The calls that rdkafka does not bind; the only unsafe code of the crate.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::slice;
use std::{borrow::Cow, ptr};

use rdkafka::bindings;
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaRespErr;

/// Whether a record whose delivery failed can be in the log all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// It was never sent, or every broker that had it refused it.
    Never,
    /// It was sent and no answer came.
    Possibly,
}

/// Asks librdkafka what it knows about a delivery report's record; rdkafka tells the code only.
pub(crate) fn persistence(message: &BorrowedMessage<'_>) -> Persistence {
    // SAFETY: the pointer is that of a delivery report that `message` keeps alive, and the call only reads it.
    let status = unsafe { bindings::rd_kafka_message_status(message.ptr()) };
    match status {
        bindings::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED => Persistence::Never,
        _ => Persistence::Possibly,
    }
}

/// One header, borrowed from its message.
pub(crate) type RawHeader<'m> = (Cow<'m, str>, Option<&'m [u8]>);

/// Reads the headers of a message; a name that is not UTF-8 is read with replacement characters.
///
/// rdkafka's own reader panics on such a name, which any foreign producer can write.
pub(crate) fn headers<'m>(message: &'m BorrowedMessage<'_>) -> Vec<RawHeader<'m>> {
    let mut list = ptr::null_mut();
    // SAFETY: the message is alive; the list that is written to `list` belongs to it.
    let found = unsafe { bindings::rd_kafka_message_headers(message.ptr(), &mut list) };
    if found != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR || list.is_null() {
        return Vec::new();
    }
    // SAFETY: `list` is the message's own header list, alive as long as the message.
    let count = unsafe { bindings::rd_kafka_header_cnt(list) };
    let mut headers = Vec::with_capacity(count);
    for index in 0..count {
        let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
        // SAFETY: as above; the three results are written only where the call answers no error.
        let read =
            unsafe { bindings::rd_kafka_header_get_all(list, index, &mut name, &mut value, &mut length) };
        if read != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR || name.is_null() {
            continue;
        }
        // SAFETY: librdkafka ends names with a NUL byte and keeps them as long as the message.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        // SAFETY: a value that is not null has `length` readable bytes that live as long as the message.
        let value = (!value.is_null()).then(|| unsafe { slice::from_raw_parts(value.cast::<u8>(), length) });
        headers.push((name, value));
    }
    headers
}
