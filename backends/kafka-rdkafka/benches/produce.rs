//! A batch of 1,000 records of 1 KiB to a real broker: ours beside rdkafka's base producer with the same settings.
//!
//! ```text
//!  this thread: raw ─ send 1,000, poll until all are answered │ ours ─ one `produce`        one broker, one partition each
//! ```
//!
//! `cargo bench -p onex-kafka-rdkafka --bench produce`; needs Java and Maven.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use onex_bench::{Comparison, table};
use onex_kafka_rdkafka::{Config, open};
use onex_services::Kafka;
use onex_spi::TokioClock;
use onex_spi::kafka::{CreateTopicRequest, ProducerConfig, ProducerRecord};
use onex_spi::provider::OpenContext;
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};

const BATCH: u64 = 1_000;
static VALUE: [u8; 1024] = [b'x'; 1024];

type Failure = Box<dyn std::error::Error>;

/// Counts answers.
#[derive(Default)]
struct Answers(AtomicU64);

impl ClientContext for Answers {}

impl ProducerContext for Answers {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        assert!(result.is_ok(), "the broker is up");
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let kafka = runtime.block_on(Kafka::builder().heap(1 << 30).start())?;
    let servers = kafka.bootstrap_servers().to_vec();
    let context = OpenContext::new(Arc::new(TokioClock::new()), 1);
    let ours = runtime.block_on(async {
        let driver = open(Config::new(servers.clone()), &context).await?;
        for topic in ["raw", "ours"] {
            driver.create_topic(CreateTopicRequest::new(topic, 1)).await?;
        }
        driver.producer(ProducerConfig::new()).await
    })?;
    let raw: BaseProducer<Answers> = ClientConfig::new()
        .set("bootstrap.servers", servers.join(","))
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .create_with_context(Answers::default())?;

    let row =
        Comparison::new("produce 1 KiB, 1,000 a batch, per record").rounds(11).operations(20 * BATCH).run(
            |n| {
                for _ in 0..n / BATCH {
                    let due = raw.context().0.load(Ordering::Relaxed) + BATCH;
                    for _ in 0..BATCH {
                        let sent = raw.send(BaseRecord::<(), [u8]>::to("raw").payload(&VALUE[..]));
                        assert!(sent.is_ok(), "the queue holds a batch");
                    }
                    while raw.context().0.load(Ordering::Relaxed) < due {
                        raw.poll(Duration::from_millis(1));
                    }
                }
            },
            |n| {
                for _ in 0..n / BATCH {
                    let batch = (0..BATCH)
                        .map(|_| ProducerRecord::new("ours").with_value(Bytes::from_static(&VALUE)))
                        .collect();
                    let answers = runtime.block_on(ours.produce(batch));
                    assert!(answers.iter().all(Result::is_ok), "the broker is up");
                }
            },
        );
    println!("{}", table(&[row]));
    runtime.block_on(async {
        ours.close(Duration::from_secs(5)).await?;
        kafka.stop().await.map_err(Failure::from)
    })
}
