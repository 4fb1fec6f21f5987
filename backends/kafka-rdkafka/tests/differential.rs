//! The same histories on a real broker and on the memory one: every answer must be the same.

use std::sync::Arc;
use std::time::SystemTime;

use onex_kafka_rdkafka::{Config, open};
use onex_memory::kafka::MemoryKafka;
use onex_services::Kafka;
use onex_spi::TokioClock;
use onex_spi::kafka::Timestamp;
use onex_spi::provider::OpenContext;
use onex_testkit::kafka::differential::{Step, history, observe};

const HISTORIES: u64 = 16;
const STEPS: usize = 60;

/// The first step to which the two answers differ.
async fn difference(kafka: Vec<String>, seed: u64) -> Option<String> {
    let history: Vec<Step> = history(seed, STEPS);
    let begin = Timestamp::from_system_time(SystemTime::now()).as_millis();
    let prefix = format!("history-{seed}-");
    let context = OpenContext::new(Arc::new(TokioClock::new()), seed);
    let real = open(Config::new(kafka), &context).await.expect("a driver");
    let memory = MemoryKafka::new(Arc::new(TokioClock::new())).driver();
    let (real, memory) =
        tokio::join!(observe(&*real, &prefix, begin, &history), observe(&*memory, &prefix, begin, &history));
    let (real, memory) = (real.expect("a producer"), memory.expect("a producer"));
    let steps = history.iter().zip(real.iter().zip(&memory)).enumerate();
    let mut different = steps.filter(|(_, (_, (real, memory)))| real != memory);
    different.next().map(|(number, (step, (real, memory)))| {
        format!("seed {seed}, step {number}: {step:?}\n    real:   {real}\n    memory: {memory}")
    })
}

#[test]
fn memory_answers_as_a_real_broker_does() {
    if let Err(reason) = Kafka::available() {
        assert!(!onex_services::required(), "{reason}");
        eprintln!("ignored: {reason}");
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let kafka = Kafka::builder().start().await.expect("Kafka starts");
        let servers = kafka.bootstrap_servers().to_vec();
        let mut running = tokio::task::JoinSet::new();
        for seed in 0..HISTORIES {
            running.spawn(difference(servers.clone(), seed));
        }
        let different: Vec<_> = running.join_all().await.into_iter().flatten().collect();
        assert!(
            different.is_empty(),
            "{} of {HISTORIES} histories differ:\n{}",
            different.len(),
            different.join("\n")
        );
    });
}
