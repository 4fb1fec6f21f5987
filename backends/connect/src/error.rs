//! The map from a socket's errors to ours.

use std::io;
use std::net::SocketAddr;

use onex_spi::http::{HttpFault, HttpPhase, HttpReason};
use onex_spi::{Error, ErrorKind};

/// Turns what a socket met while connecting to `address` into our error; nothing was applied.
///
/// Refused, reset, unreachable: `Unavailable`. The system's own connect timeout: `TimedOut`. No right to
/// dial (a local firewall): `PermissionDenied`. No file descriptor or memory left: `ResourceExhausted`.
#[must_use]
pub fn dial_error(address: SocketAddr, error: io::Error) -> Error {
    let (kind, what) = match error.kind() {
        io::ErrorKind::ConnectionRefused => (ErrorKind::Unavailable, "refused the connection"),
        io::ErrorKind::TimedOut => (ErrorKind::TimedOut, "did not answer before the system's own timeout"),
        io::ErrorKind::PermissionDenied => {
            (ErrorKind::PermissionDenied, "may not be dialled; ask for the right")
        }
        io::ErrorKind::OutOfMemory => (ErrorKind::ResourceExhausted, "was not dialled: no memory is left"),
        _ if out_of_descriptors(&error) => {
            (ErrorKind::ResourceExhausted, "was not dialled: no file descriptor is left")
        }
        _ => (ErrorKind::Unavailable, "could not be reached"),
    };
    let fault = match kind {
        ErrorKind::TimedOut => HttpFault::timeout(HttpPhase::Connect),
        _ => HttpFault::new(HttpReason::Connect),
    };
    Error::new(kind, "connect.dial", format!("{address} {what}"))
        .not_applied()
        .with_detail(fault)
        .with_source(error)
}

/// `EMFILE` and `ENFILE`, for which `io::ErrorKind` has no word; the numbers are those of every Unix.
fn out_of_descriptors(error: &io::Error) -> bool {
    cfg!(unix) && matches!(error.raw_os_error(), Some(23 | 24))
}

pub(crate) fn no_address(host: &str) -> Error {
    Error::new(ErrorKind::NotFound, "connect.resolve", format!("the host {host} has no address"))
        .not_applied()
        .with_detail(HttpReason::Resolve)
}

pub(crate) fn timed_out(host: &str, port: u16, within: std::time::Duration) -> Error {
    let message = format!("no connection to {host}:{port} within {within:?}");
    Error::new(ErrorKind::TimedOut, "connect.dial", message)
        .not_applied()
        .with_detail(HttpFault::timeout(HttpPhase::Connect))
}

#[cfg(test)]
mod tests {
    use onex_spi::Effect;

    use super::*;

    #[test]
    fn every_socket_error_has_kind_effect_and_reason() {
        use ErrorKind::{PermissionDenied, ResourceExhausted, TimedOut, Unavailable};
        let address = SocketAddr::from(([127, 0, 0, 1], 9));
        let rows = [
            (io::Error::from(io::ErrorKind::ConnectionRefused), Unavailable, HttpReason::Connect),
            (io::ErrorKind::ConnectionReset.into(), Unavailable, HttpReason::Connect),
            (io::ErrorKind::HostUnreachable.into(), Unavailable, HttpReason::Connect),
            (io::ErrorKind::NetworkUnreachable.into(), Unavailable, HttpReason::Connect),
            (io::ErrorKind::AddrNotAvailable.into(), Unavailable, HttpReason::Connect),
            (io::ErrorKind::TimedOut.into(), TimedOut, HttpReason::Timeout),
            (io::ErrorKind::PermissionDenied.into(), PermissionDenied, HttpReason::Connect),
            (io::ErrorKind::OutOfMemory.into(), ResourceExhausted, HttpReason::Connect),
            #[cfg(unix)]
            (io::Error::from_raw_os_error(24), ResourceExhausted, HttpReason::Connect),
            #[cfg(unix)]
            (io::Error::from_raw_os_error(23), ResourceExhausted, HttpReason::Connect),
        ];
        for (io, kind, reason) in rows {
            let shown = io.to_string();
            let error = dial_error(address, io);
            let fault = error.http().expect("a fault");
            assert_eq!(
                (error.kind(), error.effect(), fault.reason),
                (kind, Effect::NotApplied, reason),
                "{shown}"
            );
            assert!(error.message().contains("127.0.0.1:9"), "{error}");
        }
    }
}
