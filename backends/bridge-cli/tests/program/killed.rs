//! `kill -9`, ten times, in the middle of the flow: nothing is lost, and what is repeated is bounded.

use std::collections::HashMap;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use onex_services::Kafka;
use onex_spi::kafka::{
    ConsumerConfig, CreateTopicRequest, KafkaDriver, PollRequest, Polled, ProducerConfig, ProducerRecord,
    Timestamp,
};
use onex_spi::provider::{Engine, OpenContext, Port, Provider};
use onex_spi::{Result, TokioClock};

use crate::support::{File, PATIENCE, program};

const RECORDS: usize = 60_000;
const ROUNDS: usize = 10;
const IN_FLIGHT: usize = 64;
/// Records that a round moves before it is killed.
const FLOW: i64 = 400;

const BRIDGE: &str = r#"[default.kafka]
engine = "rdkafka"
[bridges.copy]
source = { protocol = "kafka", topics = ["in"], group_id = "copy", session_timeout = "6s" }
target = { protocol = "kafka" }
default_route = "out"
in_flight = 64
"#;

/// Dies with its test.
struct Running(Child);

impl Running {
    fn start(file: &File, servers: &str) -> Self {
        let mut command = program(&["run"], &file.path);
        command.env("ONEX__KAFKA__BOOTSTRAP_SERVERS", servers);
        Self(command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().expect("the program starts"))
    }

    /// SIGKILL.
    fn kill(mut self) {
        self.0.kill().expect("it ran");
        self.0.wait().expect("it is gone");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn driver(servers: &str) -> Arc<dyn KafkaDriver> {
    let table = format!("bootstrap_servers = ['{servers}']").parse().expect("a table");
    let context = OpenContext::new(Arc::new(TokioClock::new()), 1);
    let opened = onex_kafka_rdkafka::provider().open(Port::KafkaDriver, table, &context).await;
    match opened.expect("the broker runs") {
        Engine::KafkaDriver(driver) => driver,
        other => panic!("not a Kafka driver: {other:?}"),
    }
}

/// The records in `out`.
async fn moved(driver: &Arc<dyn KafkaDriver>) -> Result<i64> {
    let topic = driver.topic_metadata("out").await?;
    Ok(topic.partitions.iter().map(|partition| partition.high - partition.low).sum())
}

/// Waits until `out` has `count` records.
async fn until_moved(driver: &Arc<dyn KafkaDriver>, count: i64) -> Result<()> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while moved(driver).await? < count {
        assert!(tokio::time::Instant::now() < deadline, "the flow stands still before {count}");
    }
    Ok(())
}

// ONEX-BR-21
#[tokio::test(flavor = "multi_thread")]
async fn ten_kills_lose_nothing_and_repeat_no_more_than_the_window_and_a_second() {
    if let Err(reason) = Kafka::available() {
        assert!(!onex_services::required(), "{reason}");
        eprintln!("ignored: {reason}");
        return;
    }
    let kafka = Kafka::builder().start().await.expect("a broker");
    let servers = kafka.bootstrap_servers().join(",");
    let told = kill_ten_times(&servers).await;
    kafka.stop().await.expect("it stops");
    told.expect("no call failed");
}

async fn kill_ten_times(servers: &str) -> Result<()> {
    let driver = driver(servers).await;
    driver.create_topic(CreateTopicRequest::new("in", 3)).await?;
    driver.create_topic(CreateTopicRequest::new("out", 1)).await?;
    let producer = driver.producer(ProducerConfig::new()).await?;
    let record = |n: usize| ProducerRecord::new("in").with_key(n.to_string()).with_value(n.to_string());
    for result in producer.produce((0..RECORDS).map(record).collect()).await {
        result?;
    }
    producer.close(PATIENCE).await?;

    let file = File::new(BRIDGE);
    let mut kills = Vec::new();
    for round in 0..ROUNDS {
        let before = moved(&driver).await?;
        let running = Running::start(&file, servers);
        until_moved(&driver, before + FLOW).await?;
        running.kill();
        kills.push(Timestamp::from_system_time(SystemTime::now()).as_millis());
        assert!(moved(&driver).await? < RECORDS as i64, "round {round} was killed after the flow, not in it");
    }
    let last = Running::start(&file, servers);
    let arrived = read_until_all_are_there(&driver).await?;
    last.kill();

    let copies: usize = arrived.values().map(|stored| stored.len() - 1).sum();
    let within_a_second = |stored: &i64| kills.iter().any(|kill| (kill - 1000..=*kill).contains(stored));
    let a_second: usize = arrived.values().flatten().filter(|stored| within_a_second(stored)).count();
    let most = a_second + ROUNDS * IN_FLIGHT;
    println!("{RECORDS} records, {ROUNDS} kills: {copies} repeats, at most {most} allowed");
    assert_eq!(arrived.len(), RECORDS, "every record arrived");
    assert!(copies <= most, "{copies} repeats, more than {most}");
    Ok(())
}

/// Reads `out` until each record is there; answers when each copy was stored.
async fn read_until_all_are_there(driver: &Arc<dyn KafkaDriver>) -> Result<HashMap<Vec<u8>, Vec<i64>>> {
    let consumer = driver.consumer(ConsumerConfig::new("reader")).await?;
    consumer.subscribe(&["out".to_owned()]).await?;
    let mut arrived: HashMap<Vec<u8>, Vec<i64>> = HashMap::new();
    let deadline = tokio::time::Instant::now() + 2 * PATIENCE;
    while arrived.len() < RECORDS {
        assert!(tokio::time::Instant::now() < deadline, "{} of {RECORDS} arrived", arrived.len());
        if let Polled::Records(records) =
            consumer.poll(PollRequest::new(5000, Duration::from_secs(1))).await?
        {
            for record in records {
                let value = record.value.map(|value| value.to_vec()).unwrap_or_default();
                arrived.entry(value).or_default().push(record.timestamp.as_millis());
            }
        }
    }
    consumer.close(PATIENCE).await?;
    Ok(arrived)
}
