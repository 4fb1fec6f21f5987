//! Close and drop, with records under way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use onex_spi::kafka::{ConsumerConfig, Polled, ProducerConfig, ProducerRecord};
use onex_spi::{Effect, ErrorKind};

use crate::support::{broker, driver, name, soon, subscribed, topic};
#[tokio::test]
async fn close_delivers_what_is_queued() {
    let Some(kafka) = broker() else { return };
    let driver = driver(kafka).await;
    let topic = topic(&driver, 3).await;
    let producer =
        driver.producer(ProducerConfig::new().with_linger(Duration::from_millis(200))).await.unwrap();
    let call = tokio::spawn({
        let producer = Arc::clone(&producer);
        let records = (0..5_000).map(|_| ProducerRecord::new(&*topic).with_value(vec![b'x'; 100])).collect();
        async move { producer.produce(records).await }
    });
    while producer.stats().accepted == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(producer.close(Duration::from_secs(10)).await.unwrap().total(), 0);
    assert!(call.await.unwrap().iter().all(Result::is_ok));
    let late = producer.produce(vec![ProducerRecord::new(&*topic)]).await.remove(0).unwrap_err();
    assert_eq!((late.kind(), late.effect()), (ErrorKind::Closed, Effect::NotApplied));
    let metadata = driver.topic_metadata(&topic).await.unwrap();
    assert_eq!(metadata.partitions.iter().map(|partition| partition.high).sum::<i64>(), 5_000);
    driver.close(Duration::from_secs(5)).await.unwrap();
    assert_eq!(driver.topic_metadata(&topic).await.unwrap_err().kind(), ErrorKind::Closed);
}

/// On one thread, so that whatever blocks shows as a late tick.
#[test]
fn nothing_blocks_the_runtime_and_drops_return_at_once() {
    let Some(kafka) = broker() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let driver = driver(kafka).await;
        let topic = topic(&driver, 1).await;
        let producer =
            driver.producer(ProducerConfig::new().with_linger(Duration::from_secs(1))).await.unwrap();
        let consumer = subscribed(&driver, ConsumerConfig::new(name("group")), &topic).await;
        loop {
            if let Polled::Assigned(_) = consumer.poll(soon()).await.unwrap() {
                break;
            }
        }
        let mut call = Box::pin(producer.produce(vec![ProducerRecord::new(&*topic); 1_000]));
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut call).await.is_err());
        let begin = Instant::now();
        drop(call);
        drop((producer, consumer, driver));
        assert!(begin.elapsed() < Duration::from_millis(10), "the drops took {:?}", begin.elapsed());
    });
    let begin = Instant::now();
    drop(runtime);
    assert!(begin.elapsed() < Duration::from_millis(50), "the runtime took {:?}", begin.elapsed());
}
