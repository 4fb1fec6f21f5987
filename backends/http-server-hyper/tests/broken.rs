//! The server suite proves itself on the wire: every bug is caught by its cases and no other.

use onex_http_server_hyper::{Config, open};
use onex_spi::provider::OpenContext;
use onex_testkit::broken::Reach;
use onex_testkit::http::broken::check_broken_servers;
use onex_testkit::http::server::ServerUnderTest;

#[test]
fn every_broken_server_is_caught_by_its_cases_alone() {
    let report = check_broken_servers(
        |setup| async move {
            let server = open(Config::default(), &OpenContext::new(setup.clock, setup.seed)).await?;
            Ok(ServerUnderTest::on_the_wire(server))
        },
        Reach::All,
    );
    println!("{report}");
    assert!(report.wrong.is_empty() && !report.caught.is_empty(), "{report}");
}
