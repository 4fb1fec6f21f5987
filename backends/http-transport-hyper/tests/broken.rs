//! The HTTP transport suite proves itself on the wire: every bug is caught by its cases and no other.

use std::num::NonZeroUsize;

use onex_http_transport_hyper::{Config, open};
use onex_spi::provider::OpenContext;
use onex_testkit::broken::Reach;
use onex_testkit::http::broken::check_broken;

#[test]
fn every_broken_transport_is_caught_by_its_cases_alone() {
    let report = check_broken(
        |setup| async move {
            let mut config = Config::default();
            if let Some(most) = setup.max_idle_per_origin {
                config = config.with_max_idle_per_origin(most);
            }
            if let Some(most) = setup.max_connections_per_origin.and_then(NonZeroUsize::new) {
                config = config.with_max_connections_per_origin(most);
            }
            if let Some(time) = setup.idle_timeout {
                config = config.with_idle_timeout(time);
            }
            open(config, &OpenContext::new(setup.clock, setup.seed)).await
        },
        Reach::All,
    );
    assert!(report.wrong.is_empty(), "{report}");
    assert!(!report.caught.is_empty(), "{report}");
}
