//! The `memory` protocol: named queues of one process.
//!
//! ```text
//!  MemoryHub ─ queue(name) ─► MemoryQueue ── offer ─►│ bounded │─► take
//!     └ protocol() ─► source { queue = ".." }  receives from it; target: a route is a queue's name
//! ```
//!
//! A source takes from one queue, a target puts into the queue that the route names. A queue is bounded: whoever puts into a
//! full one waits. Several hubs are several worlds.

mod ends;
mod queue;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use onex_spi::bridge::BridgeProtocol;

pub use self::queue::MemoryQueue;

/// Named queues, and the protocol whose ends are these queues; clones share them.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use onex_bridge::memory::MemoryHub;
/// use onex_spi::bridge::{BridgeConfig, BridgeMessage, CommunicationBridge, MessageId, Protocol};
/// use onex_spi::provider::Table;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> onex_spi::Result<()> {
/// let hub = MemoryHub::new();
/// let (orders, shipped) = (hub.queue("orders", 16), hub.queue("shipped", 16));
/// let bridges = onex_bridge::open(vec![hub.protocol()], Arc::new(onex_spi::TokioClock::new()), 1)?;
/// let source = Table::from_iter([("queue".to_owned(), "orders".into())]);
/// let config = BridgeConfig::default().with_ends(source, Table::new()).with_default_route("shipped");
/// let memory = Protocol::new("memory");
/// bridges.create_bridge("orders", memory.clone(), memory, config).await?;
/// orders.offer(BridgeMessage::new(MessageId::from_u128(7), "{}")).await?;
/// assert_eq!(shipped.take().await.map(|message| message.id), Some(MessageId::from_u128(7)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryHub {
    queues: Arc<Mutex<BTreeMap<Arc<str>, MemoryQueue>>>,
    on_demand: Option<usize>,
}

impl MemoryHub {
    /// Makes a hub without queues; a route to a queue that does not exist is `NotFound`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a hub whose targets create the queues that they are sent to, each for up to `capacity` messages.
    #[must_use]
    pub fn creating(capacity: usize) -> Self {
        Self { queues: Arc::default(), on_demand: Some(capacity) }
    }

    /// The queue called `name`; made for up to `capacity` messages (at least 1) where there is none yet.
    pub fn queue(&self, name: impl Into<Arc<str>>, capacity: usize) -> MemoryQueue {
        let name = name.into();
        let new = || MemoryQueue::new(name.clone(), capacity);
        self.queues().entry(name.clone()).or_insert_with(new).clone()
    }

    /// The protocol `memory` over these queues.
    #[must_use]
    pub fn protocol(&self) -> Arc<dyn BridgeProtocol> {
        Arc::new(ends::Memory::new(self.clone()))
    }

    /// The queue of that name, if there is one or it may be created.
    fn find(&self, name: &str) -> Option<MemoryQueue> {
        if let Some(queue) = self.queues().get(name) {
            return Some(queue.clone());
        }
        self.on_demand.map(|capacity| self.queue(name, capacity))
    }

    fn names(&self) -> Vec<Arc<str>> {
        self.queues().keys().cloned().collect()
    }

    fn queues(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, MemoryQueue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
