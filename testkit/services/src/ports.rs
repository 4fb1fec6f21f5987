//! Free ports on 127.0.0.1.

use std::{
    io::{self, ErrorKind},
    net::{Ipv4Addr, TcpListener},
    ops::Range,
};

/// Below 32768, where Linux begins to hand out ports for outgoing connections: a port in that range could be taken by
/// any client between the probe and the broker's own bind.
const RANGE: Range<u16> = 10_000..32_768;

/// Finds `count` different ports nobody listens on.
///
/// The answer is true when given and may be stale a moment later, so a caller must be ready to ask again.
pub(crate) fn free(count: usize) -> io::Result<Vec<u16>> {
    let start = fastrand::u16(RANGE);
    let candidates = (start..RANGE.end).chain(RANGE.start..start);
    // Held until all are found.
    let mut held = Vec::with_capacity(count);
    let mut ports = Vec::with_capacity(count);
    for port in candidates {
        if ports.len() == count {
            break;
        }
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(listener) => {
                held.push(listener);
                ports.push(port);
            }
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
    if ports.len() < count {
        return Err(io::Error::new(ErrorKind::AddrInUse, "every port in 10000-32767 is taken"));
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_lie_below_the_ephemeral_range() {
        let mut ports = free(20).unwrap();
        assert!(ports.iter().all(|port| RANGE.contains(port)));
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 20);
    }
}
