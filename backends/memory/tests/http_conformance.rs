//! The HTTP transport suite on the memory network.

use onex_memory::http::MemoryHttp;

fn main() -> std::process::ExitCode {
    onex_testkit::http::transport::conformance(|setup| async move {
        let network = MemoryHttp::new(setup.clock);
        network.otherwise(setup.service);
        Ok(network.transport())
    })
}
