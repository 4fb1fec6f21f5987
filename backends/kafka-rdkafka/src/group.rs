//! What a cluster tells about a group: state, members with their assignment, committed offsets, lag.
//!
//! ```text
//!  DescribeGroups ─► state, members ─► assignment (the consumer protocol's bytes)
//!  OffsetFetch by a client that never joins ─► committed     watermarks ─► lag = end - committed
//! ```

use std::collections::BTreeSet;

use onex_spi::kafka::{ConsumerGroupInfo, GroupMember, GroupState, KafkaFault, TopicPartition};
use onex_spi::{Error, Result};
use rdkafka::ClientConfig;
use rdkafka::client::Client;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::{Offset, TopicPartitionList};

use crate::cluster::{ANSWER, Cluster};
use crate::error;
use crate::native::{self, AdminContext};
use crate::work::Reaped;

const CALL: &str = "kafka.group_info";

impl ConsumerContext for AdminContext {}

impl Cluster {
    pub(crate) async fn group_info(&self, group_id: &str) -> Result<ConsumerGroupInfo> {
        if group_id.is_empty() || group_id.contains('\0') {
            return Err(Error::invalid(
                CALL,
                format!("{group_id:?} names no group; it is empty or holds a NUL byte"),
            )
            .with_detail(KafkaFault::new("INVALID_GROUP_ID").with_code(24)));
        }
        let admin = self.admin(CALL).await?;
        let group_id = group_id.to_owned();
        let mut settings = native::client(self.config());
        settings.set("group.id", &group_id);
        settings.set("enable.auto.commit", "false");
        let ask = move || {
            let told = describe(admin.inner(), &group_id).and_then(|mut info| {
                if info.state != GroupState::Dead {
                    add_offsets(&mut info, admin.inner(), &settings)?;
                }
                Ok(info)
            });
            told.map_err(|error| admin.inner().context().notes.explain(error, CALL))
        };
        self.workers.run(CALL, ask).await?
    }
}

fn refused(error: KafkaError) -> Error {
    // Asking changes nothing.
    error::of_native(&error, CALL, "the group").not_applied()
}

/// Asks for state and members; blocks.
fn describe(client: &Client<AdminContext>, group_id: &str) -> Result<ConsumerGroupInfo> {
    let unknown = || ConsumerGroupInfo::new(group_id, GroupState::Dead);
    let list = match client.fetch_group_list(Some(group_id), ANSWER) {
        Ok(list) => list,
        Err(KafkaError::GroupListFetch(Code::GroupIdNotFound)) => return Ok(unknown()),
        Err(error) => return Err(refused(error)),
    };
    let Some(group) = list.groups().iter().find(|group| group.name() == group_id) else {
        return Ok(unknown());
    };
    let state = match group.state() {
        "Stable" => GroupState::Stable,
        "Empty" => GroupState::Empty,
        "Dead" | "" => GroupState::Dead,
        // PreparingRebalance, CompletingRebalance; Assigning and Reconciling of the newer protocol.
        _ => GroupState::Rebalancing,
    };
    let mut info = ConsumerGroupInfo::new(group_id, state);
    group.protocol().clone_into(&mut info.protocol);
    for member in group.members() {
        let assignment = member.assignment().map(decode_assignment).transpose()?.unwrap_or_default();
        let host = member.client_host().trim_start_matches('/');
        info.members
            .push(GroupMember::new(member.id(), member.client_id(), host).with_assignment(assignment));
    }
    Ok(info)
}

/// Adds committed offsets and lag; blocks.
fn add_offsets(
    info: &mut ConsumerGroupInfo,
    client: &Client<AdminContext>,
    settings: &ClientConfig,
) -> Result<()> {
    let mut partitions: BTreeSet<TopicPartition> =
        info.members.iter().flat_map(|member| member.assignment.iter().cloned()).collect();
    if partitions.is_empty() {
        // Nobody is assigned anything: the committed offsets may be of any topic.
        let metadata = client.fetch_metadata(None, ANSWER).map_err(refused)?;
        for topic in metadata.topics().iter().filter(|topic| topic.error().is_none()) {
            for partition in topic.partitions() {
                partitions.insert(TopicPartition::new(topic.name(), partition.id()));
            }
        }
    }
    if partitions.is_empty() {
        return Ok(());
    }
    // A consumer that never subscribes never joins; it is the way to ask for another group's offsets.
    let asker = BaseConsumer::from_config_and_context(settings, AdminContext::default()).map_err(refused)?;
    let asker: Reaped<BaseConsumer<AdminContext>> = Reaped::new(asker);
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for at in &partitions {
        list.add_partition(&at.topic, at.partition);
    }
    let committed = asker.committed_offsets(list, ANSWER).map_err(refused)?;
    for element in committed.elements() {
        if let (Ok(()), Offset::Offset(offset)) = (element.error(), element.offset()) {
            let at = TopicPartition::new(element.topic(), element.partition());
            let (_, high) = client.fetch_watermarks(&at.topic, at.partition, ANSWER).map_err(refused)?;
            info.lag.insert(at.clone(), (high - offset).max(0));
            info.committed.insert(at, offset);
        }
    }
    Ok(())
}

/// Reads a member's assignment: version, then topics with partitions, then bytes of the application.
fn decode_assignment(bytes: &[u8]) -> Result<Vec<TopicPartition>> {
    read_assignment(bytes).ok_or_else(|| {
        let text =
            "the assignment of a member is not of the consumer protocol; is the group a consumer group?";
        Error::new(onex_spi::ErrorKind::Corrupt, CALL, text).not_applied()
    })
}

fn read_assignment(mut bytes: &[u8]) -> Option<Vec<TopicPartition>> {
    // A member that waits for its assignment has none.
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let bytes = &mut bytes;
    let _version = i16::from_be_bytes(cut(bytes)?);
    let topics = i32::from_be_bytes(cut(bytes)?);
    let mut assignment = Vec::new();
    for _ in 0..topics {
        let length = usize::try_from(i16::from_be_bytes(cut(bytes)?)).ok()?;
        let (name, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        let name: std::sync::Arc<str> = std::str::from_utf8(name).ok()?.into();
        for _ in 0..i32::from_be_bytes(cut(bytes)?) {
            assignment.push(TopicPartition::new(name.clone(), i32::from_be_bytes(cut(bytes)?)));
        }
    }
    assignment.sort();
    Some(assignment)
}

fn cut<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_read_and_a_cut_one_is_refused() {
        let bytes =
            b"\0\x03\0\0\0\x02\0\x01b\0\0\0\x01\0\0\0\x07\0\x01a\0\0\0\x02\0\0\0\x01\0\0\0\0\xff\xff\xff\xff";
        let at = |topic: &str, partition| TopicPartition::new(topic, partition);
        assert_eq!(read_assignment(bytes), Some(vec![at("a", 0), at("a", 1), at("b", 7)]));
        assert_eq!(read_assignment(b""), Some(vec![]));
        for length in 1..bytes.len() - 4 {
            assert_eq!(read_assignment(&bytes[..length]), None, "{length} bytes");
        }
    }
}
