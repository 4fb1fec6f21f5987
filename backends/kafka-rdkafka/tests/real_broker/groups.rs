//! Several members, and one that the group has expelled.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use onex_spi::kafka::{Commit, ConsumerConfig, GroupState, Polled, TopicPartition};
use onex_spi::{Effect, ErrorKind};

use crate::support::{at, broker, driver, fill, name, next, read, soon, subscribed, topic};
#[tokio::test]
async fn two_members_share_and_hand_over_at_the_committed_offset() {
    let Some(kafka) = broker() else { return };
    let driver = driver(kafka).await;
    let topic = topic(&driver, 2).await;
    fill(&driver, &topic, 0, 10).await;
    fill(&driver, &topic, 1, 10).await;
    let group = name("group");
    let a = subscribed(&driver, ConsumerConfig::new(&group), &topic).await;
    read(&a, 20).await;
    a.commit(&Commit::new(next(&[(at(&topic, 0), 4)]))).await.unwrap();

    let b = subscribed(&driver, ConsumerConfig::new(&group), &topic).await;
    let mut seen = BTreeMap::new();
    let mut released = None;
    let end = Instant::now() + Duration::from_secs(30);
    while b.assignment().is_empty() || seen.len() < 6 {
        assert!(Instant::now() < end, "no hand-over: a {:?} b {:?} {seen:?}", a.assignment(), b.assignment());
        let (from_a, from_b) = tokio::join!(a.poll(soon()), b.poll(soon()));
        if let Polled::Revoking(partitions) = from_a.unwrap() {
            assert_eq!(a.assignment().len(), 2, "still owned until the next poll");
            released = Some(partitions);
        }
        if let Polled::Records(messages) = from_b.unwrap() {
            for message in messages {
                seen.entry((message.partition, message.offset)).and_modify(|n| *n += 1).or_insert(1);
            }
        }
    }
    let released = released.expect("a was told");
    assert_eq!(b.assignment(), released);
    let first = if released[0].partition == 0 { 4 } else { 0 };
    assert_eq!(*seen.keys().next().unwrap(), (released[0].partition, first));
    assert!(seen.values().all(|times| *times == 1));

    // What is not owned is refused, what is unknown is not found, what goes back wants the word for it.
    let (own, foreign) = (a.assignment()[0].clone(), b.assignment()[0].clone());
    let commit = |at: &TopicPartition, offset| Commit::new(next(&[(at.clone(), offset)]));
    assert_eq!(a.commit(&commit(&foreign, 5)).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(a.commit(&commit(&at(&topic, 99), 5)).await.unwrap_err().kind(), ErrorKind::NotFound);
    a.commit(&commit(&own, 7)).await.unwrap();
    let lower = a.commit(&commit(&own, 3)).await.unwrap_err();
    assert_eq!((lower.kind(), lower.effect()), (ErrorKind::InvalidInput, Effect::NotApplied));
    a.commit(&commit(&own, 3).with_rewind()).await.unwrap();
    assert_eq!(a.committed(std::slice::from_ref(&own)).await.unwrap(), next(&[(own.clone(), 3)]));

    let admin = driver.admin().unwrap();
    let info = admin.group_info(&group).await.unwrap();
    assert_eq!((info.state, info.members.len()), (GroupState::Stable, 2));
    assert_eq!(info.members.iter().map(|member| member.assignment.len()).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(info.lag[&own], 7);
    b.close(Duration::from_secs(10)).await.unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    while a.assignment().len() < 2 {
        assert!(Instant::now() < end, "a did not get back what b left");
        a.poll(soon()).await.unwrap();
    }
    a.close(Duration::from_secs(10)).await.unwrap();
    let info = admin.group_info(&group).await.unwrap();
    assert_eq!((info.state, info.members.len(), info.committed.get(&own)), (GroupState::Empty, 0, Some(&3)));
    assert_eq!(admin.group_info("nobody").await.unwrap().state, GroupState::Dead);
}

#[tokio::test]
async fn an_expelled_member_commits_nothing() {
    let Some(kafka) = broker() else { return };
    let driver = driver(kafka).await;
    let topic = topic(&driver, 1).await;
    fill(&driver, &topic, 0, 5).await;
    let group = name("group");
    let config = ConsumerConfig::new(&group)
        .with_session_timeout(Duration::from_secs(2))
        .with_max_poll_interval(Duration::from_secs(2));
    let consumer = subscribed(&driver, config, &topic).await;
    read(&consumer, 5).await;
    consumer.commit(&Commit::new(next(&[(at(&topic, 0), 2)]))).await.unwrap();
    // A real wait: the poll interval is librdkafka's, on the machine's clock. Group info shows the expulsion.
    let end = Instant::now() + Duration::from_secs(20);
    while driver.admin().unwrap().group_info(&group).await.unwrap().state != GroupState::Empty {
        assert!(Instant::now() < end, "not expelled");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The group is empty now: the broker itself would take a commit from anybody.
    let error = consumer.commit(&Commit::new(next(&[(at(&topic, 0), 4)]))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
    let info = driver.admin().unwrap().group_info(&group).await.unwrap();
    assert_eq!(info.committed.get(&at(&topic, 0)), Some(&2));
    let mut lost = false;
    let end = Instant::now() + Duration::from_secs(20);
    while !lost {
        assert!(Instant::now() < end, "never told");
        lost = matches!(consumer.poll(soon()).await, Ok(Polled::Lost(_)));
    }
    read(&consumer, 3).await;
}
