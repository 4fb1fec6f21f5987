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
    fn every_broken_transport_names_cases_of_the_suite_that_judge_its_law() {
        let suite = rows();
        let mut names = BTreeSet::new();
        for bug in broken::broken() {
            assert!(names.insert(bug.name), "{} twice", bug.name);
            for id in bug.caught_by {
                let laws = suite.iter().find(|(known, ..)| known == id).map(|(_, laws, _)| *laws);
                assert!(laws.is_some_and(|laws| laws.contains(&bug.law)), "{}: {id} {laws:?}", bug.name);
            }
        }
    }
}
