//! The system's resolver.

use std::net::IpAddr;

use async_trait::async_trait;
use onex_spi::Result;
use onex_spi::http::Resolver;

use crate::error::no_address;

/// Asks the operating system, on tokio's blocking threads; an IP literal is its own answer.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl SystemResolver {
    /// Makes the resolver.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

#[async_trait]
impl Resolver for SystemResolver {
    /// Finds the addresses in the order of the system's preference (RFC 6724), each once.
    ///
    /// # Cancellation
    /// The system's call cannot be stopped: its thread ends with it, and its answer is dropped.
    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>> {
        if let Ok(literal) = host.parse() {
            return Ok(vec![literal]);
        }
        let found =
            tokio::net::lookup_host((host, 0)).await.map_err(|error| no_address(host).with_source(error))?;
        let mut addresses = Vec::new();
        for address in found.map(|address| address.ip()) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() { Err(no_address(host)) } else { Ok(addresses) }
    }
}
