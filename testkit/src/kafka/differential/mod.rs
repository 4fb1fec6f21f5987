//! Two engines, one history: what they answer must be the same.
//!
//! ```text
//!  seed ─► history ─┬─► observe(one driver)   ─► what each step answered ─┐
//!                   └─► observe(another one)  ─► what each step answered ─┴─► compared line by line
//! ```
//!
//! A history is made before it is run, of its seed alone. What may differ is left out of what is told: texts, ids, which partition an error names, the chunks
//! in which records come, the order between partitions, the times of records that were sent without one, how often an error that
//! stays is told, and where a record without key and partition goes.

mod history;
mod observer;

use onex_spi::Result;
use onex_spi::kafka::{KafkaDriver, ProducerConfig};

pub use self::history::{Place, Sent, Step, history};
use self::observer::Observer;

/// Runs `history` on a driver; answers what each step came to.
///
/// The names of topics and groups begin with `prefix`, which is left out of what is told. `begin` is the time, in milliseconds
/// since 1970, from which the history's times count; it should be about now.
///
/// # Errors
/// What opening the producer met.
/// # Cancellation
/// Topics and groups stay behind.
pub async fn observe(
    driver: &dyn KafkaDriver,
    prefix: &str,
    begin: i64,
    history: &[Step],
) -> Result<Vec<String>> {
    let producer = driver.producer(ProducerConfig::new()).await?;
    let mut observer = Observer::new(driver, producer, prefix, begin);
    let mut seen = Vec::with_capacity(history.len());
    for step in history {
        seen.push(observer.step(step).await);
    }
    observer.end().await;
    Ok(seen)
}
