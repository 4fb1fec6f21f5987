//! HTTP servers with one deliberate bug each, over any good server.

mod ending;
mod exchange;
mod front;
mod streams;
mod wrapper;

use onex_spi::http::HttpServer;

use crate::broken::Broken;

pub(super) fn bugs() -> Vec<Broken<dyn HttpServer>> {
    [exchange::BUGS, streams::BUGS, front::BUGS, ending::BUGS].concat()
}
