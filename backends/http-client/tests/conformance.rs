//! The client suite over the memory network. Row ONEX-GEN-02.

mod common;

use onex_memory::http::MemoryHttp;

fn main() -> std::process::ExitCode {
    onex_testkit::http::client::conformance(|setup| async move {
        let network = MemoryHttp::new(setup.clock.clone());
        network.otherwise(setup.service.clone());
        common::client(setup, network.transport())
    })
}
