//! Who should own what: balanced, and with as few moves as that allows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use onex_spi::kafka::TopicPartition;

/// A member, as the broker numbers them.
pub(super) type MemberId = u64;

/// Gives each partition to one subscriber of its topic.
///
/// `held` is what stays where it is unless the balance needs it. The loads of two members that could take the same
/// partition differ by at most one.
pub(super) fn balance(
    subscribers: &BTreeMap<MemberId, &BTreeSet<Arc<str>>>,
    partitions: &[TopicPartition],
    held: impl Fn(&TopicPartition) -> Option<MemberId>,
) -> BTreeMap<MemberId, BTreeSet<TopicPartition>> {
    let wants = |member: MemberId, at: &TopicPartition| {
        subscribers.get(&member).is_some_and(|topics| topics.contains(&at.topic))
    };
    let mut targets: BTreeMap<MemberId, BTreeSet<TopicPartition>> =
        subscribers.keys().map(|member| (*member, BTreeSet::new())).collect();
    let mut free = Vec::new();
    for at in partitions {
        match held(at).filter(|member| wants(*member, at)).and_then(|member| targets.get_mut(&member)) {
            Some(target) => drop(target.insert(at.clone())),
            None => free.push(at),
        }
    }
    for at in free {
        let lightest =
            targets.iter_mut().filter(|(member, _)| wants(**member, at)).min_by_key(|(_, t)| t.len());
        if let Some((_, target)) = lightest {
            target.insert(at.clone());
        }
    }
    // Each move lowers the sum of the squared loads, so this ends.
    while let Some((from, to, at)) = next_move(&targets, wants) {
        targets.entry(from).or_default().remove(&at);
        targets.entry(to).or_default().insert(at);
    }
    targets
}

/// The move of one partition from a heavy member to a light one that both could own.
fn next_move(
    targets: &BTreeMap<MemberId, BTreeSet<TopicPartition>>,
    wants: impl Fn(MemberId, &TopicPartition) -> bool,
) -> Option<(MemberId, MemberId, TopicPartition)> {
    let mut by_load: Vec<_> = targets.iter().collect();
    by_load.sort_by_key(|(_, target)| target.len());
    for (from, heavy) in by_load.iter().rev() {
        for (to, _) in by_load.iter().take_while(|(_, light)| light.len() + 1 < heavy.len()) {
            if let Some(at) = heavy.iter().rev().find(|at| wants(**to, at)) {
                return Some((**from, **to, at.clone()));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions(topic: &str, count: i32) -> Vec<TopicPartition> {
        (0..count).map(|partition| TopicPartition::new(topic, partition)).collect()
    }

    fn loads(targets: &BTreeMap<MemberId, BTreeSet<TopicPartition>>) -> Vec<usize> {
        targets.values().map(BTreeSet::len).collect()
    }

    #[test]
    fn a_newcomer_takes_its_share_and_the_rest_stays() {
        let topics = BTreeSet::from(["t".into()]);
        let four = partitions("t", 4);
        let alone = balance(&BTreeMap::from([(1, &topics)]), &four, |_| None);
        assert_eq!(loads(&alone), [4]);
        let both = balance(&BTreeMap::from([(1, &topics), (2, &topics)]), &four, |_| Some(1));
        assert_eq!(loads(&both), [2, 2]);
        let again = balance(&BTreeMap::from([(1, &topics), (2, &topics)]), &four, |at| {
            both.iter().find(|(_, target)| target.contains(at)).map(|(member, _)| *member)
        });
        assert_eq!(again, both, "a balanced group does not move");
    }

    #[test]
    fn more_members_than_partitions_leaves_some_idle() {
        let topics = BTreeSet::from(["t".into()]);
        let members = BTreeMap::from([(1, &topics), (2, &topics), (3, &topics)]);
        assert_eq!(loads(&balance(&members, &partitions("t", 2), |_| None)), [1, 1, 0]);
    }

    #[test]
    fn nobody_gets_a_topic_that_it_did_not_ask_for() {
        let (a, b) = (BTreeSet::from(["a".into()]), BTreeSet::from(["a".into(), "b".into()]));
        let both = [partitions("a", 4), partitions("b", 2)].concat();
        let targets = balance(&BTreeMap::from([(1, &a), (2, &b)]), &both, |_| Some(2));
        assert_eq!(loads(&targets), [3, 3]);
        assert!(targets[&1].iter().all(|at| &*at.topic == "a"));
    }
}
