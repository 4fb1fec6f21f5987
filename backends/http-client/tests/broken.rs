//! The client suite proves itself on the wire: every bug is caught by its cases, over hyper by no other case.

mod common;

use onex_spi::provider::OpenContext;
use onex_testkit::broken::Reach;
use onex_testkit::http::broken::check_broken_clients;

#[test]
fn over_hyper_every_broken_client_is_caught_by_its_cases_alone() {
    use onex_http_transport_hyper::{Config, open};
    let report = check_broken_clients(
        |setup| async move {
            let transport =
                open(Config::default(), &OpenContext::new(setup.clock.clone(), setup.seed)).await?;
            common::client(setup, transport)
        },
        Reach::All,
    );
    println!("{report}");
    assert!(report.wrong.is_empty() && !report.caught.is_empty(), "{report}");
}

#[test]
fn over_reqwest_every_broken_client_is_caught_by_its_cases() {
    use onex_http_transport_reqwest::{Config, open};
    let report = check_broken_clients(
        |setup| async move {
            let transport =
                open(Config::default(), &OpenContext::new(setup.clock.clone(), setup.seed)).await?;
            common::client(setup, transport)
        },
        Reach::Named,
    );
    println!("{report}");
    assert!(report.wrong.is_empty() && !report.caught.is_empty(), "{report}");
}
