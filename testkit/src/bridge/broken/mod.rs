//! Bridges with one deliberate bug each, over any good one.
//!
//! ```text
//!  make_bridge ─► wrap (one changed behaviour before or behind the bridge) ─► every case ─► exactly `caught_by` fail, on `law`
//! ```

mod control;
mod ends;
mod moving;
mod wrapper;

use std::sync::Arc;

use onex_spi::bridge::CommunicationBridge;
use onex_spi::{BoxFuture, Result};

use super::world::OpenEnds;
use super::{BridgeSetup, Ends, EndsSetup, MemoryEnds, bind};
use crate::broken::{self, Broken, Reach, Report};

/// Makes a bridge, as the suite's factory does.
pub type MakeBridge =
    dyn Fn(BridgeSetup) -> BoxFuture<'static, Result<Arc<dyn CommunicationBridge>>> + Send + Sync;

/// Every bug of a bridge that the suite is known to notice.
#[must_use]
pub fn broken() -> Vec<Broken<MakeBridge>> {
    [moving::BUGS, control::BUGS, ends::BUGS].concat()
}

/// Adds each bug to the bridge that `factory` makes and runs the suite on it, between [`MemoryEnds`].
///
/// The bridge itself must pass.
///
/// # Examples
/// ```no_run
/// use std::sync::Arc;
/// use onex_testkit::bridge::{broken::check_broken, reference::ReferenceBridge};
/// use onex_testkit::broken::Reach;
///
/// let report = check_broken(|setup| async { Ok(Arc::new(ReferenceBridge::new(setup)) as Arc<_>) }, Reach::Named);
/// assert!(report.wrong.is_empty(), "{report}");
/// ```
pub fn check_broken<F, Fut>(factory: F, reach: Reach) -> Report
where
    F: Fn(BridgeSetup) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Arc<dyn CommunicationBridge>>> + Send + 'static,
{
    let good: Arc<MakeBridge> = Arc::new(move |setup| Box::pin(factory(setup)));
    let ends: Arc<OpenEnds> = Arc::new(|setup: EndsSetup| {
        Box::pin(async { Ok(Arc::new(MemoryEnds::new(setup)) as Arc<dyn Ends>) })
    });
    broken::check(&broken(), reach, |bug| match bug {
        Some(bug) => bind(&(bug.wrap)(Arc::clone(&good)), &ends),
        None => bind(&good, &ends),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::files;
    use super::super::reference::ReferenceBridge;
    use super::*;

    #[test]
    fn each_broken_bridge_fails_exactly_its_cases_over_the_reference() {
        let report =
            check_broken(|setup| async { Ok(Arc::new(ReferenceBridge::new(setup)) as Arc<_>) }, Reach::All);
        assert!(report.wrong.is_empty() && report.ignored.is_empty(), "{report}");
    }

    #[test]
    fn each_law_that_a_case_judges_has_a_broken_bridge_and_each_name_is_used_once() {
        let judged: BTreeSet<_> = files().into_iter().flatten().flat_map(|case| case.laws).copied().collect();
        let laws: BTreeSet<_> = broken().iter().map(|broken| broken.law).collect();
        assert_eq!(laws, judged);
        let names: BTreeSet<_> = broken().iter().map(|broken| broken.name).collect();
        assert_eq!(names.len(), broken().len());
    }
}
