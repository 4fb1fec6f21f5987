//! HTTP clients with one deliberate bug each, over any good client.
//!
//! A client's policy decides inside, so a bug may change what the client is made of as well as what its port shows.

mod breaker;
mod calls;
mod ending;
mod limits;
mod retries;
mod wrapper;

use crate::broken::Broken;
use crate::http::client::HttpClientFactory;

pub(super) fn bugs() -> Vec<Broken<HttpClientFactory>> {
    [calls::BUGS, limits::BUGS, retries::BUGS, breaker::BUGS, ending::BUGS].concat()
}
