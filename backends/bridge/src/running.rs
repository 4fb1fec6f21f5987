//! A bridge with its task, from its start to the end of its drain.
//!
//! ```text
//!  destroy ─► drain, once, as a task of its own ─┬─ source.close(within) ─────────────────┐
//!                                                └─ lane: drained, or cut off at `within` ─┴─► target, dead-letter target closed ─► ended()
//! ```

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join3;
use onex_spi::bridge::{BridgeHealth, BridgeInfo};
use onex_spi::{BoxFuture, Clock, Error, ErrorKind, Health, Result};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

use crate::bridge::Bridge;
use crate::error;
use crate::inbox::Ending;
use crate::lane::Lane;

/// The longest that an end may take to tell its health.
const HEALTH: Duration = Duration::from_secs(2);

/// The least time that a target gets to close in, once nothing is under way to it.
const TARGET_CLOSE: Duration = Duration::from_secs(1);

/// A bridge that was started. Dropping it ends its tasks.
#[derive(Debug)]
pub(crate) struct Running {
    bridge: Arc<Bridge>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    lane: Option<JoinHandle<usize>>,
    tasks: Vec<AbortHandle>,
    /// The end of the drain; `None` as long as nobody began one.
    drained: Option<watch::Receiver<Option<Result<()>>>>,
}

impl Running {
    /// Starts the lane; needs the runtime of the caller.
    pub(crate) fn start(bridge: Bridge, seed: u64) -> Self {
        let bridge = Arc::new(bridge);
        let lane = tokio::spawn(Lane::new(bridge.clone(), seed).run());
        let state = State { tasks: vec![lane.abort_handle()], lane: Some(lane), drained: None };
        Self { bridge, state: Mutex::new(state) }
    }

    pub(crate) fn bridge(&self) -> &Arc<Bridge> {
        &self.bridge
    }

    pub(crate) fn info(&self) -> BridgeInfo {
        let (source, target) = self.bridge.protocols.clone();
        BridgeInfo::new(self.bridge.id, self.bridge.name.clone(), source, target, self.bridge.books().state())
    }

    /// Begins the drain unless it has begun, and waits for its end: the first caller is told how it went, others that it ended.
    ///
    /// `ended` is called once both ends are closed, by the drain that runs; where one runs already, it is dropped.
    pub(crate) async fn drain(&self, within: Duration, ended: impl FnOnce() + Send + 'static) -> Result<()> {
        let (mut drained, first) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            match &state.drained {
                Some(drained) => (drained.clone(), false),
                None => {
                    let (tell, drained) = watch::channel(None);
                    let lane = state.lane.take();
                    let drain = drain(self.bridge.clone(), lane, within, ended);
                    // On its own, so that it goes on where the caller leaves.
                    let task = tokio::spawn(async move {
                        let outcome = drain.await;
                        tell.send_replace(Some(outcome));
                    });
                    state.tasks.push(task.abort_handle());
                    state.drained = Some(drained.clone());
                    (drained, true)
                }
            }
        };
        // A drain that ended without a word was cut off with the engine.
        let outcome = match drained.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Ok(())),
            Err(_) => Err(Error::closed(error::DESTROY, "the communication bridge")),
        };
        if first { outcome } else { Ok(()) }
    }

    pub(crate) async fn health(&self) -> BridgeHealth {
        let bridge = &self.bridge;
        let dead = async {
            match &bridge.dead {
                Some(dead) => Some(end_health(&*bridge.clock, dead.target.health()).await),
                None => None,
            }
        };
        let (source, target, dead) = join3(
            end_health(&*bridge.clock, bridge.source.health()),
            end_health(&*bridge.clock, bridge.target.health()),
            dead,
        )
        .await;
        let now = bridge.clock.now();
        let books = bridge.books();
        let own = books.health();
        let ends =
            [("source", Some(&source)), ("target", Some(&target)), ("dead-letter target", dead.as_ref())];
        let state = ends.into_iter().filter_map(|(end, health)| Some(named(end, health?))).fold(own, worse);
        let mut health = BridgeHealth::new(state, source, target, books.metrics.ledger.in_flight);
        health.dead_letter = dead;
        health.last_success = books.since_success(now);
        health
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.tasks.iter().for_each(AbortHandle::abort);
    }
}

async fn drain(
    bridge: Arc<Bridge>,
    lane: Option<JoinHandle<usize>>,
    within: Duration,
    ended: impl FnOnce(),
) -> Result<()> {
    let clock = bridge.clock.clone();
    // A time that no clock can add is no limit.
    let deadline = clock.now().checked_add(within);
    bridge.books().draining = true;
    bridge.inbox.end(Ending::Drain);
    tracing::info!(bridge = &*bridge.name, ?within, "draining");
    let lane = async {
        let Some(mut lane) = lane else { return 0 };
        let lane = tokio::select! {
            biased;
            lane = &mut lane => lane,
            () = until(&*clock, deadline) => {
                bridge.inbox.end(Ending::Cut);
                lane.await
            }
        };
        // A lane that panicked has failed and told its messages as it went.
        lane.unwrap_or_default()
    };
    let (source, cut) = tokio::join!(bridge.source.close(within), lane);
    let left = match deadline {
        Some(deadline) => deadline.saturating_duration_since(clock.now()).max(TARGET_CLOSE),
        None => within,
    };
    let dead = async {
        match &bridge.dead {
            Some(dead) => dead.target.close(left).await,
            None => Ok(()),
        }
    };
    let (target, dead) = tokio::join!(bridge.target.close(left), dead);
    ended();
    tracing::info!(bridge = &*bridge.name, cut, "ended");
    if cut > 0 {
        let message = format!("{cut} messages of the bridge `{}` were failed after {within:?}", bridge.name);
        return Err(Error::new(ErrorKind::TimedOut, error::DESTROY, message));
    }
    source.and(target).and(dead)
}

async fn until(clock: &dyn Clock, deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => clock.sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn end_health(clock: &dyn Clock, health: BoxFuture<'_, Health>) -> Health {
    let deadline = clock.now().checked_add(HEALTH);
    tokio::select! {
        biased;
        health = health => health,
        () = until(clock, deadline) => Health::Unhealthy(format!("no answer within {HEALTH:?}")),
    }
}

fn named(end: &str, health: &Health) -> Health {
    match health {
        Health::Degraded(why) => Health::Degraded(format!("{end}: {why}")),
        Health::Unhealthy(why) => Health::Unhealthy(format!("{end}: {why}")),
        _ => Health::Healthy,
    }
}

pub(crate) fn worse(one: Health, other: Health) -> Health {
    let rank = |health: &Health| match health {
        Health::Healthy => 0,
        Health::Degraded(_) => 1,
        _ => 2,
    };
    if rank(&other) > rank(&one) { other } else { one }
}
