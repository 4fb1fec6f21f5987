//! The HTTP suites, their broken engines, mocks and faults.
//!
//! ```text
//!  factory(HttpTransportSetup) ─► transport::trials   cases http.*          over Arc<dyn HttpTransport>
//!  factory(HttpClientSetup)    ─► client::trials      cases http_client.*   over Arc<dyn HttpClient>
//!  factory(HttpServerSetup)    ─► server::trials      cases http_server.*   over a ServerUnderTest
//! ```
//!
//! A case opens its own engine and its own servers. Where an engine declares
//! [`HttpFeature::Wire`](onex_spi::http::HttpFeature::Wire) the servers are sockets of [`net`](crate::net); else they are
//! services on a switchboard that the factory is handed, and the cases of raw bytes end as ignored.

pub mod broken;
pub mod client;
mod faulty;
mod handler;
pub mod mock;
pub mod server;
mod stage;
pub mod transport;

#[cfg(test)]
pub(crate) use self::handler::Gone;
pub use self::handler::{handler, streamed};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::broken::{Broken, assert_told};
    use crate::suite::Case;

    type Row = (&'static str, &'static [&'static str], &'static [&'static str]);

    fn rows() -> Vec<Row> {
        fn of<W>(cases: Vec<Case<W>>) -> impl Iterator<Item = Row> {
            cases.into_iter().map(|case| (case.id, case.laws, case.rows))
        }
        of(transport::cases()).chain(of(client::cases())).chain(of(server::cases())).collect()
    }

    #[test]
    fn ids_are_unique_and_every_case_cites_a_law() {
        let mut ids = BTreeSet::new();
        for (id, laws, _) in rows() {
            assert!(ids.insert(id), "{id} twice");
            assert!(
                ["http.", "http_client.", "http_server."].iter().any(|suite| id.starts_with(suite)),
                "{id}"
            );
            assert!(!laws.is_empty() && laws.iter().all(|law| law.starts_with("HTTP")), "{id}");
        }
    }

    #[test]
    fn every_acceptance_row_of_these_ports_has_a_case() {
        let covered: BTreeSet<_> = rows().into_iter().flat_map(|(_, _, rows)| rows).copied().collect();
        // There is no row 23.
        let missing: Vec<_> = (1..=24)
            .filter(|row| *row != 23)
            .map(|row| format!("ONEX-HTTP-{row:02}"))
            .filter(|row| !covered.contains(row.as_str()))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn every_case_is_caught_or_the_reason_is_told() {
        fn caught<P: ?Sized>(bugs: Vec<Broken<P>>) -> impl Iterator<Item = &'static str> {
            bugs.into_iter().flat_map(|bug| bug.caught_by).copied()
        }
        let ids = || rows().into_iter().map(|(id, ..)| id);
        assert_told("http.", ids(), caught(broken::broken()));
        assert_told("http_client.", ids(), caught(broken::broken_clients()));
        assert_told("http_server.", ids(), caught(broken::broken_servers()));
    }

    #[test]
    fn every_bug_names_cases_of_its_suite_that_judge_its_law() {
        type Bug = (&'static str, &'static str, &'static str, &'static [&'static str]);
        fn of<P: ?Sized>(suite: &'static str, bugs: Vec<Broken<P>>) -> impl Iterator<Item = Bug> {
            bugs.into_iter().map(move |bug| (suite, bug.name, bug.law, bug.caught_by))
        }
        let cases = rows();
        let mut names = BTreeSet::new();
        let bugs = of("http.", broken::broken())
            .chain(of("http_client.", broken::broken_clients()))
            .chain(of("http_server.", broken::broken_servers()));
        for (suite, name, law, caught_by) in bugs {
            assert!(names.insert((suite, name)) && !caught_by.is_empty(), "{suite}{name} twice, or never");
            for id in caught_by {
                let laws = cases.iter().find(|(known, ..)| known == id).map(|(_, laws, _)| *laws);
                let judged = id.starts_with(suite) && laws.is_some_and(|laws| laws.contains(&law));
                assert!(judged, "{suite}{name}: {id} {laws:?}");
            }
        }
    }
}
