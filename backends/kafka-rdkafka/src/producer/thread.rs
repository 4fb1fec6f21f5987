//! Thread P: takes librdkafka's delivery reports, and closes.
//!
//! ```text
//!  Open ─close─► Closing(deadline) ─every record answered──────────────────────────► Closed(undelivered)
//!                       └─deadline─► Cut: nothing goes out, purge, last answers ─────┘
//! ```

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use onex_spi::kafka::{Timestamp, TopicPartition, Undelivered};
use onex_spi::{Clock, Effect, Error, ErrorKind, Result};
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, Producer, ProducerContext, PurgeConfig};
use rdkafka::{ClientConfig, Statistics};
use tokio::sync::{oneshot, watch};

use super::ledger::{Ledger, Stored};
use crate::error;
use crate::ffi::{self, Persistence};
use crate::native::{self, Notes};
use crate::work::Reaped;

/// How long one look for delivery reports waits; they wake it.
const LOOK: Duration = Duration::from_millis(50);
const LOOK_CLOSING: Duration = Duration::from_millis(5);
/// How long librdkafka gets to give back what was purged.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

pub(super) type Native = BaseProducer<Deliveries>;
pub(super) type Shared = Arc<Reaped<Native>>;

/// How far a producer's life has come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    Open,
    Closing(Instant),
    Cut,
    Closed(Undelivered),
}

/// What thread P shares with the producer.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) phase: watch::Sender<Phase>,
    /// Set where the producer was dropped without a close.
    pub(super) abandoned: AtomicBool,
    /// Gone once the producer is closed.
    native: Mutex<Option<SharedDebug>>,
    pub(super) ledger: Arc<Ledger>,
}

/// The native producer, which shows nothing.
struct SharedDebug(Shared);

impl std::fmt::Debug for SharedDebug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BaseProducer")
    }
}

impl Life {
    pub(super) fn native(&self) -> Option<Shared> {
        let native = self.native.lock().unwrap_or_else(PoisonError::into_inner);
        native.as_ref().map(|native| Arc::clone(&native.0))
    }

    fn release(&self) {
        drop(self.native.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Takes delivery reports.
pub(super) struct Deliveries {
    ledger: Arc<Ledger>,
    pub(super) notes: Notes,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        native::log(level, facility, text);
    }

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.notes.error(&error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, report: &DeliveryResult<'_>, opaque: usize) {
        let answer = match report {
            Ok(message) => {
                // Without an offset no broker has answered, so the timestamp is only what was sent.
                let offset = Some(message.offset()).filter(|offset| *offset >= 0);
                let timestamp = offset.and_then(|_| message.timestamp().to_millis());
                let timestamp = timestamp.map(Timestamp::from_millis);
                Ok(Stored { partition: message.partition(), offset, timestamp })
            }
            Err((error, message)) => {
                let at = TopicPartition::new(message.topic(), message.partition());
                let effect = match ffi::persistence(message) {
                    Persistence::Never => Effect::NotApplied,
                    Persistence::Possibly => Effect::Unknown,
                };
                let error =
                    error::of_native(error, "kafka.produce", format_args!("a record for {}", at.topic));
                let error = self.notes.explain(error.with_effect(effect), "kafka.produce");
                Err(error::at(error, at))
            }
        };
        self.ledger.settle(opaque, answer);
    }
}

/// Starts thread P, which makes the native producer, and resolves once it is made.
pub(super) async fn start(settings: ClientConfig, clock: Arc<dyn Clock>) -> Result<Arc<Life>> {
    let (made, is_made) = oneshot::channel();
    let run = move || {
        let ledger = Arc::new(Ledger::default());
        let context = Deliveries { ledger: Arc::clone(&ledger), notes: Notes::default() };
        let native = match Native::from_config_and_context(&settings, context) {
            Ok(native) => Arc::new(Reaped::new(native)),
            Err(error) => {
                let _ = made.send(Err(error::of_native(&error, "kafka.producer", "the producer")));
                return;
            }
        };
        let life = Arc::new(Life {
            phase: watch::Sender::new(Phase::Open),
            abandoned: AtomicBool::new(false),
            native: Mutex::new(Some(SharedDebug(Arc::clone(&native)))),
            ledger,
        });
        // A caller that is gone leaves nothing open: the only owners are here.
        if made.send(Ok(Arc::clone(&life))).is_ok() {
            serve(&life, &native, &*clock);
        }
    };
    let spawned = thread::Builder::new().name("onex-kafka-produce".into()).spawn(run);
    spawned.map_err(|error| {
        let text = "the system gives no further thread; end others first";
        Error::new(ErrorKind::ResourceExhausted, "kafka.producer", text).not_applied().with_source(error)
    })?;
    is_made.await.map_err(|_| {
        Error::new(ErrorKind::Unclassified, "kafka.producer", "the producer's thread ended early; report it")
    })?
}

fn serve(life: &Life, native: &Shared, clock: &dyn Clock) {
    let _told = Told(life);
    loop {
        let phase = *life.phase.borrow();
        native.poll(if matches!(phase, Phase::Open) { LOOK } else { LOOK_CLOSING });
        if life.abandoned.load(Ordering::Acquire) {
            break;
        }
        let Phase::Closing(deadline) = phase else { continue };
        if life.ledger.is_quiet() {
            break;
        }
        if clock.now() >= deadline {
            life.ledger.cut();
            life.phase.send_replace(Phase::Cut);
            let begin = Instant::now();
            while !life.ledger.is_answered() && begin.elapsed() < LAST_ANSWERS {
                // Again each time: a call may have been between its slot and librdkafka's queue.
                native.purge(PurgeConfig::default().queue().inflight());
                native.poll(LOOK_CLOSING);
            }
            break;
        }
    }
    life.release();
}

/// Tells the end, also where the thread panicked.
struct Told<'l>(&'l Life);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.0.ledger.cut();
        let undelivered = self.0.ledger.undelivered();
        self.0.phase.send_replace(Phase::Closed(undelivered));
    }
}
