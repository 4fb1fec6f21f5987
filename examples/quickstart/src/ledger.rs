//! Feeds a file of orders to the service and accounts for every one of them.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use http::StatusCode;
use onex_spi::http::{HttpClient, HttpClientExt};
use onex_spi::kafka::{ConsumerConfig, KafkaClient, KafkaClientExt, PollRequest};
use onex_spi::{Error, ErrorKind, Result};

use crate::order::EnrichedOrder;

/// How many orders are under way at once.
const IN_FLIGHT: usize = 16;
/// The most bytes that are read of a reason.
const REASON_LIMIT: usize = 64 << 10;

/// How every order ended.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Lines that were fed.
    pub received: u64,
    /// Orders that are in Kafka (202).
    pub accepted: u64,
    /// Lines that are no order (400).
    pub malformed: u64,
    /// Orders whose directory failed or was cut off by its circuit (502).
    pub upstream_failed: u64,
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { received, accepted, malformed, upstream_failed } = self;
        write!(
            f,
            "{received} received = {accepted} accepted + {malformed} malformed + {upstream_failed} upstream-failed"
        )
    }
}

/// Posts every line to `url` and counts the answers.
///
/// # Errors
/// A call that failed, or an answer that the service never gives: nothing is counted away.
pub async fn feed(http: &Arc<dyn HttpClient>, url: &str, lines: &str) -> Result<Ledger> {
    let answers = stream::iter(lines.lines().map(str::to_owned))
        .map(|line| async move { http.post(url).body(line).send().await })
        .buffer_unordered(IN_FLIGHT);
    let mut answers = std::pin::pin!(answers);
    let mut ledger = Ledger::default();
    while let Some(answer) = answers.next().await {
        let answer = answer?;
        ledger.received += 1;
        match answer.status {
            StatusCode::ACCEPTED => ledger.accepted += 1,
            StatusCode::BAD_REQUEST => ledger.malformed += 1,
            StatusCode::BAD_GATEWAY => ledger.upstream_failed += 1,
            status => {
                let reason = answer.into_body().bytes(REASON_LIMIT).await?;
                let message = format!("the service says {status}: {}", String::from_utf8_lossy(&reason));
                return Err(Error::new(ErrorKind::Unavailable, "quickstart.feed", message));
            }
        }
    }
    Ok(ledger)
}

/// Reads `expected` different orders of the topic, commits after each batch, and tells how many it read.
///
/// # Errors
/// `TimedOut` where they do not come within `within`; `Corrupt` for a record that is no order.
pub async fn consume(
    kafka: &Arc<dyn KafkaClient>,
    topic: &str,
    expected: u64,
    within: Duration,
) -> Result<u64> {
    let consumer = kafka.consumer(ConsumerConfig::new("quickstart"), None).await?;
    let mut seen = BTreeSet::new();
    let all = async {
        while (seen.len() as u64) < expected {
            let messages = consumer.consume(&[topic.to_owned()], PollRequest::default()).await?;
            for message in &messages {
                let order: EnrichedOrder = serde_json::from_slice(
                    message.value.as_deref().unwrap_or_default(),
                )
                .map_err(|error| {
                    Error::new(ErrorKind::Corrupt, "quickstart.consume", "no order").with_source(error)
                })?;
                seen.insert(order.order.id);
            }
            if !messages.is_empty() {
                consumer.commit_after(&messages).await?;
            }
        }
        Ok::<_, Error>(())
    };
    let ended = tokio::time::timeout(within, all).await;
    consumer.close(Duration::from_secs(5)).await?;
    let late = || {
        Error::new(
            ErrorKind::TimedOut,
            "quickstart.consume",
            format!("not all orders came within {within:?}"),
        )
    };
    ended.map_err(|_| late())??;
    Ok(seen.len() as u64)
}
