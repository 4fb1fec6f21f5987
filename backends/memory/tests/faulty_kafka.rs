//! Seeded faults over the memory broker: what the errors say is what happened.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use onex_memory::kafka::MemoryKafka;
use onex_spi::kafka::{
    Commit, ConsumerConfig, CreateTopicRequest, KafkaDriver, NextOffsets, PollRequest, Polled,
    ProducerConfig, ProducerRecord, TopicPartition,
};
use onex_spi::{Clock, Effect, Error, Result, TokioClock};
use onex_testkit::faulty::{FaultPlan, Faulty};
use onex_testkit::suite::Outcome;

fn clock() -> Arc<dyn Clock> {
    Arc::new(TokioClock::new())
}

#[test]
fn delays_alone_break_no_law() {
    let broker = MemoryKafka::new(clock());
    let trials = onex_testkit::kafka::driver::trials(move |setup| {
        let plan = FaultPlan::new(setup.seed).with_delay(Duration::from_millis(2));
        let driver: Arc<dyn KafkaDriver> = Arc::new(Faulty::new(broker.driver(), plan, setup.clock));
        async move { Ok(driver) }
    });
    // The one bound that a delay stretches is that of a poll of nothing, and it has room.
    let failed: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = trials.iter().map(|trial| (trial.id(), scope.spawn(|| trial.run()))).collect();
        let ended = running.into_iter().map(|(id, run)| (id, run.join().expect("a trial does not panic")));
        ended.filter(|(_, outcome)| *outcome != Outcome::Passed).collect()
    });
    assert!(failed.is_empty(), "{failed:?}");
}

/// Repeats a call that cannot do harm until it is answered.
async fn insist<T>(mut call: impl AsyncFnMut() -> Result<T>) -> T {
    for _ in 0..1000 {
        match call().await {
            Ok(answer) => return answer,
            Err(error) => assert!(error.is_retryable(true), "{error:#}"),
        }
    }
    panic!("the plan refuses for ever");
}

/// One history under faults: what is in the log, told as stored, as not applied, as unknown, and the sequence of ends.
async fn history(seed: u64) -> (Vec<String>, Vec<&'static str>) {
    let broker = MemoryKafka::new(clock());
    let plan = FaultPlan::new(seed).with_refuse(0.1).with_lose_answer(0.1);
    let driver = Faulty::new(broker.driver(), plan, clock());
    insist(async || driver.create_topic(CreateTopicRequest::new("orders", 1)).await).await;
    let producer = insist(async || driver.producer(ProducerConfig::new()).await).await;
    let mut ends = Vec::new();
    let (mut stored, mut may_be_stored) = (BTreeSet::new(), BTreeSet::new());
    for batch in 0..50 {
        let value = |index: i32| format!("{batch:02}-{index}");
        let record = |index| ProducerRecord::new("orders").with_value(value(index));
        for (index, answer) in (0..).zip(producer.produce((0..4).map(record).collect()).await) {
            ends.push(match answer.as_ref().map_err(Error::effect) {
                Ok(_) => {
                    stored.insert(value(index));
                    "stored"
                }
                Err(Effect::Unknown) => {
                    may_be_stored.insert(value(index));
                    "unknown"
                }
                Err(Effect::NotApplied) => "not applied",
            });
        }
    }
    let stats = producer.stats();
    assert_eq!(stats.accepted, 200);
    assert_eq!((stats.acknowledged, stats.failed), (stored.len() as u64, 200 - stored.len() as u64));

    let consumer = insist(async || driver.consumer(ConsumerConfig::new("readers")).await).await;
    insist(async || consumer.subscribe(&["orders".into()]).await).await;
    let orders = TopicPartition::new("orders", 0);
    let end = insist(async || consumer.watermarks(&orders).await).await.high;
    let mut log = Vec::new();
    while log.len() < usize::try_from(end).expect("an offset") {
        if let Polled::Records(read) = insist(async || consumer.poll(PollRequest::default()).await).await {
            log.extend(read.iter().map(|message| {
                String::from_utf8_lossy(message.value.as_deref().unwrap_or_default()).into_owned()
            }));
        }
    }
    let found: BTreeSet<_> = log.iter().cloned().collect();
    assert_eq!(found.len(), log.len(), "a record came twice");
    assert!(stored.is_subset(&found), "an acknowledged record is missing");
    // Lost answers are the only unknown ones here, so each was stored; what was refused was not.
    let told: BTreeSet<_> = stored.union(&may_be_stored).cloned().collect();
    assert_eq!(found, told);

    insist(async || consumer.commit(&Commit::new(NextOffsets::from([(orders.clone(), end)]))).await).await;
    let committed = insist(async || consumer.committed(std::slice::from_ref(&orders)).await).await;
    assert_eq!(committed.get(&orders), Some(&end));
    let counts = driver.counts();
    assert!(counts.refused > 0 && counts.lost > 0, "{counts:?}");
    (log, ends)
}

#[tokio::test]
async fn what_an_error_says_is_what_happened_and_a_seed_repeats_it() {
    for seed in 0..20 {
        let (log, ends) = history(seed).await;
        assert_eq!(history(seed).await, (log, ends), "seed {seed}");
    }
}
