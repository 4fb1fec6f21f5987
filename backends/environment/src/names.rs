//! The names with a meaning of their own: the layer below all, the sections, and the tables of policies.

use onex_spi::provider::Port;

/// The name of the layer below every profile.
pub(crate) const DEFAULT: &str = "default";

/// The table of a section that is the policy's and not the engine's, where the port has one.
pub(crate) fn policy_of(port: Port) -> Option<&'static str> {
    match port {
        Port::HttpTransport => Some("client"),
        _ => None,
    }
}

/// The port whose section has that name.
pub(crate) fn port_of(section: &str) -> Option<Port> {
    Port::ALL.iter().copied().find(|port| port.section() == section)
}

/// The names of all sections, sorted.
pub(crate) fn sections() -> Vec<&'static str> {
    let mut names: Vec<_> = Port::ALL.iter().map(|port| port.section()).collect();
    names.sort_unstable();
    names
}
