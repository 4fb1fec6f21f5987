//! What the protocols see: taking, attempting, settling.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use onex_spi::Result;
use onex_spi::bridge::{
    BridgeMessage, BridgeSource, BridgeTarget, DeadReason, DeliveryTag, Disposition, MessageId, Settled,
};
use onex_spi::kafka::Header;

use super::MakeBridge;
use super::wrapper::{Answers, Bug, Taken, wrap};
use crate::broken::Broken;

pub(super) const BUGS: &[Broken<MakeBridge>] = &[
    Broken::new(
        "drops_what_no_rule_takes",
        "B2",
        &["bridge.routing_order_default"],
        wrap::<DropsWhatNoRuleTakes>,
    ),
    Broken::new("blames_the_rules_for_poison", "B2", &["bridge.poison_message"], wrap::<BlamesTheRules>),
    Broken::new("takes_bytes_for_text", "B3", &["bridge.raw_bytes_pass"], wrap::<TakesBytesForText>),
    Broken::new("swallows_rule_errors", "B4", &["bridge.rule_runtime_error"], wrap::<SwallowsRuleErrors>),
    Broken::new("new_id_per_attempt", "B3", &["bridge.duplicates_keep_id"], wrap::<NewIdPerAttempt>),
    Broken::new("drops_headers", "B3", &["bridge.identity_and_bytes"], wrap::<DropsHeaders>),
    Broken::new(
        "settles_before_delivery",
        "B5",
        &[
            "bridge.settled_once_after_delivery",
            "bridge.honest_failure_without_dlq",
            "bridge.dead_letter_target_down",
            "bridge.destroy_tells_what_it_cut",
            "bridge.reply_reaches_the_caller",
        ],
        wrap::<SettlesBeforeDelivery>,
    ),
    Broken::new(
        "settles_twice",
        "B5",
        &[
            "bridge.settled_once_after_delivery",
            "bridge.honest_failure_without_dlq",
            "bridge.dead_letter_target_down",
        ],
        wrap::<SettlesTwice>,
    ),
    Broken::new(
        "retries_permanent_errors",
        "B6",
        &["bridge.missing_topic", "bridge.honest_failure_without_dlq", "bridge.health_auth_redaction"],
        wrap::<RetriesPermanentErrors>,
    ),
    Broken::new("strips_dead_letters", "B7", &["bridge.retries_exhausted"], wrap::<StripsDeadLetters>),
    Broken::new(
        "hides_failed_dead_letters",
        "B7",
        &["bridge.dead_letter_target_down"],
        wrap::<HidesFailedDeadLetters>,
    ),
    Broken::new("takes_without_bound", "B8", &["bridge.bounded_memory"], wrap::<TakesWithoutBound>),
    Broken::new("sees_no_loops", "B13", &["bridge.loop_is_refused"], wrap::<SeesNoLoops>),
];

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The reason for which a message is a dead letter.
fn dead(message: &BridgeMessage) -> Option<&[u8]> {
    message.header("onex-dead-reason").map(|reason| &reason[..])
}

/// Delivers what `keep` keeps, and says of the rest that it was delivered.
async fn deliver_some(
    good: &dyn BridgeTarget,
    to: &Arc<str>,
    messages: &[BridgeMessage],
    keep: impl Fn(&BridgeMessage) -> bool + Send,
) -> Answers {
    let kept: Vec<_> = messages.iter().filter(|message| keep(message)).cloned().collect();
    let mut answers = good.deliver(to, &kept).await.into_iter();
    let answers = messages.iter().map(|message| match keep(message) {
        true => answers.next().unwrap_or(Ok(None)),
        false => Ok(None),
    });
    answers.collect()
}

/// Delivers the messages as `change` leaves them.
async fn deliver_changed(
    good: &dyn BridgeTarget,
    to: &Arc<str>,
    messages: &[BridgeMessage],
    change: impl Fn(&mut BridgeMessage) + Send,
) -> Answers {
    let mut changed = messages.to_vec();
    changed.iter_mut().for_each(change);
    good.deliver(to, &changed).await
}

#[derive(Default)]
struct DropsWhatNoRuleTakes;

#[async_trait]
impl Bug for DropsWhatNoRuleTakes {
    async fn deliver(&self, good: &dyn BridgeTarget, to: &Arc<str>, messages: &[BridgeMessage]) -> Answers {
        let no_route = Some(DeadReason::NoRoute.as_str().as_bytes());
        deliver_some(good, to, messages, |message| dead(message) != no_route).await
    }
}

#[derive(Default)]
struct BlamesTheRules;

#[async_trait]
impl Bug for BlamesTheRules {
    async fn deliver(&self, good: &dyn BridgeTarget, to: &Arc<str>, messages: &[BridgeMessage]) -> Answers {
        deliver_changed(good, to, messages, |message| {
            if dead(message) == Some(DeadReason::DecodeError.as_str().as_bytes()) {
                message.headers.retain(|header| &*header.name != "onex-dead-reason");
                message.headers.push(Header::new("onex-dead-reason", DeadReason::RuleError.as_str()));
            }
        })
        .await
    }
}

#[derive(Default)]
struct TakesBytesForText;

#[async_trait]
impl Bug for TakesBytesForText {
    async fn deliver(&self, good: &dyn BridgeTarget, to: &Arc<str>, messages: &[BridgeMessage]) -> Answers {
        deliver_changed(good, to, messages, |message| {
            message.payload = String::from_utf8_lossy(&message.payload).into_owned().into();
        })
        .await
    }
}

#[derive(Default)]
struct SwallowsRuleErrors;

#[async_trait]
impl Bug for SwallowsRuleErrors {
    async fn deliver(&self, good: &dyn BridgeTarget, to: &Arc<str>, messages: &[BridgeMessage]) -> Answers {
        let rule_error = Some(DeadReason::RuleError.as_str().as_bytes());
        deliver_some(good, to, messages, |message| dead(message) != rule_error).await
    }
}

/// Remembers what was attempted; whatever comes again gets an id of its own.
#[derive(Default)]
struct NewIdPerAttempt {
    known: Mutex<BTreeSet<(Arc<str>, MessageId)>>,
    given: AtomicU64,
}

#[async_trait]
impl Bug for NewIdPerAttempt {
    async fn deliver(&self, good: &dyn BridgeTarget, to: &Arc<str>, messages: &[BridgeMessage]) -> Answers {
        deliver_changed(good, to, messages, |message| {
            if !lock(&self.known).insert((Arc::clone(to), message.id)) {
                message.id = MessageId::from_u128(!u128::from(self.given.fetch_add(1, Ordering::Relaxed)));
            }
        })
        .await
    }
}

#[derive(Default)]
struct DropsHeaders;

#[async_trait]
impl Bug for DropsHeaders {
    async fn deliver(&self, good: &dyn BridgeTarget, to: &Arc<str>, messages: &[BridgeMessage]) -> Answers {
        deliver_changed(good, to, messages, |message| {
            if dead(message).is_none() {
                message.headers.clear();
            }
        })
        .await
    }
}

#[derive(Default)]
struct StripsDeadLetters;

#[async_trait]
impl Bug for StripsDeadLetters {
    async fn deliver(&self, good: &dyn BridgeTarget, to: &Arc<str>, messages: &[BridgeMessage]) -> Answers {
        deliver_changed(good, to, messages, |message| {
            if dead(message).is_some() {
                message.headers.retain(|header| header.name.starts_with("onex-dead-"));
            }
        })
        .await
    }
}

/// Settles a tag when its message is attempted, and not when the bridge says so.
#[derive(Default)]
struct SettlesBeforeDelivery(Mutex<BTreeMap<MessageId, Tag>>);

type Tag = (Arc<dyn BridgeSource>, DeliveryTag);

#[async_trait]
impl Bug for SettlesBeforeDelivery {
    async fn receive(
        &self,
        good: &Arc<dyn BridgeSource>,
        _: &Mutex<VecDeque<Taken>>,
        max: usize,
        into: &mut Vec<Taken>,
    ) -> Result<usize> {
        let before = into.len();
        let count = good.receive(max, into).await?;
        let taken = into[before..].iter().map(|(tag, message)| (message.id, (Arc::clone(good), *tag)));
        lock(&self.0).extend(taken);
        Ok(count)
    }

    async fn deliver(&self, good: &dyn BridgeTarget, to: &Arc<str>, messages: &[BridgeMessage]) -> Answers {
        for message in messages.iter() {
            let taken = lock(&self.0).remove(&message.id);
            if let Some((source, tag)) = taken {
                source.settle(vec![Settled::new(tag, message.id, Disposition::Delivered(Arc::clone(to)))]);
            }
        }
        good.deliver(to, messages).await
    }

    fn settle(&self, good: &dyn BridgeSource, mut settled: Vec<Settled>) {
        // What never came to an attempt is settled as the bridge says.
        settled.retain(|one| lock(&self.0).remove(&one.id).is_some());
        good.settle(settled);
    }
}

#[derive(Default)]
struct SettlesTwice;

#[async_trait]
impl Bug for SettlesTwice {
    fn settle(&self, good: &dyn BridgeSource, settled: Vec<Settled>) {
        good.settle(settled.clone());
        good.settle(settled);
    }
}

#[derive(Default)]
struct RetriesPermanentErrors;

#[async_trait]
impl Bug for RetriesPermanentErrors {
    async fn deliver(&self, good: &dyn BridgeTarget, to: &Arc<str>, messages: &[BridgeMessage]) -> Answers {
        let mut answers = good.deliver(to, messages).await;
        for (message, answer) in messages.iter().zip(&mut answers) {
            if matches!(answer, Err(error) if !error.is_retryable(true))
                && let Some(again) = good.deliver(to, std::slice::from_ref(message)).await.pop()
            {
                *answer = again;
            }
        }
        answers
    }
}

#[derive(Default)]
struct HidesFailedDeadLetters;

#[async_trait]
impl Bug for HidesFailedDeadLetters {
    async fn deliver(&self, good: &dyn BridgeTarget, to: &Arc<str>, messages: &[BridgeMessage]) -> Answers {
        let answers = good.deliver(to, messages).await.into_iter().zip(messages);
        let hidden = answers.map(|(answer, message)| match dead(message) {
            Some(_) => answer.or(Ok(None)),
            None => answer,
        });
        hidden.collect()
    }
}

/// Takes whatever the source has, and hands it on as it is asked.
#[derive(Default)]
struct TakesWithoutBound;

#[async_trait]
impl Bug for TakesWithoutBound {
    async fn receive(
        &self,
        good: &Arc<dyn BridgeSource>,
        kept: &Mutex<VecDeque<Taken>>,
        max: usize,
        into: &mut Vec<Taken>,
    ) -> Result<usize> {
        if lock(kept).is_empty() {
            let mut all = Vec::new();
            good.receive(usize::MAX, &mut all).await?;
            lock(kept).extend(all);
        }
        let mut kept = lock(kept);
        let count = max.min(kept.len());
        into.extend(kept.drain(..count));
        Ok(count)
    }
}

#[derive(Default)]
struct SeesNoLoops;

#[async_trait]
impl Bug for SeesNoLoops {
    fn addresses(&self, _: &dyn BridgeSource) -> Vec<String> {
        Vec::new()
    }
}
