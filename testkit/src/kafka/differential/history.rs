//! What a history asks, made of a seed.

use onex_spi::kafka::OffsetReset;

/// The most topics of a history.
const TOPICS: usize = 4;
/// The groups of a history, with one consumer each at a time.
const GROUPS: usize = 2;

/// One thing that is asked of a cluster; topics and groups are told by their number in the history.
#[allow(clippy::exhaustive_enums, reason = "whoever runs a history runs every step")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Creates a topic.
    Create {
        /// The name of the topic, without the history's prefix.
        name: String,
        /// The partitions asked for.
        partitions: i32,
        /// The replicas asked for.
        replicas: i16,
        /// A setting.
        config: Option<(&'static str, &'static str)>,
    },
    /// Deletes a topic.
    Delete(String),
    /// Describes a topic.
    Describe(String),
    /// Produces one batch.
    Produce(Vec<Sent>),
    /// Opens the consumer of a group, after it closed the one before.
    Open(usize, OffsetReset),
    /// Sets the topics of a group's consumer.
    Subscribe(usize, Vec<String>),
    /// Reads all that there is.
    Read(usize),
    /// Commits what was read, moved by `by`.
    Commit {
        /// The group.
        group: usize,
        /// How far beside what was read.
        by: i64,
        /// Whether going back is asked for.
        rewind: bool,
    },
    /// Commits an offset of one partition, whoever owns it.
    CommitAt(usize, Place, i64),
    /// Asks for the committed offsets of partitions.
    Committed(usize, Vec<Place>),
    /// Moves the position in one partition.
    Seek(usize, Place, i64),
    /// Pauses one partition.
    Pause(usize, Place),
    /// Resumes one partition.
    Resume(usize, Place),
    /// Asks for the bounds of a partition.
    Watermarks(usize, Place),
    /// Asks for the offset of a time, in milliseconds from the history's begin.
    OffsetForTime(usize, Place, i64),
    /// Describes a group.
    Group(usize),
    /// Closes a group's consumer.
    Close(usize),
}

/// A partition of a topic.
pub type Place = (String, i32);

/// One record that is sent.
#[allow(clippy::exhaustive_structs, reason = "whoever runs a history sends all of it")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<Vec<u8>>,
    /// The headers.
    pub headers: Vec<(&'static str, Option<&'static str>)>,
    /// The time of the record, in milliseconds from the history's begin.
    pub time: Option<i64>,
}

/// The steps of one seed.
#[must_use]
pub fn history(seed: u64, steps: usize) -> Vec<Step> {
    let mut maker = Maker {
        random: fastrand::Rng::with_seed(seed),
        topics: Vec::new(),
        made: 0,
        sent: 0,
        groups: vec![None; GROUPS],
        stops: vec![false; GROUPS],
    };
    let mut history = Vec::with_capacity(steps);
    for partitions in [1, 3] {
        history.push(maker.create(partitions));
    }
    while history.len() < steps {
        history.push(maker.step());
    }
    history
}

/// What the steps so far have made of the cluster, where all went well.
struct Maker {
    random: fastrand::Rng,
    /// Name and partitions of the topics that are there.
    topics: Vec<(String, i32)>,
    made: usize,
    sent: usize,
    /// The topics that the open consumer of a group is subscribed to.
    groups: Vec<Option<Vec<String>>>,
    /// Whether that consumer stops where it has nowhere to begin.
    stops: Vec<bool>,
}

impl Maker {
    fn step(&mut self) -> Step {
        let group = self.random.usize(..GROUPS);
        if self.groups[group].as_ref().is_none_or(Vec::is_empty) && self.random.bool() {
            return self.open_or_subscribe(group);
        }
        match self.random.u8(..100) {
            0..4 => self.refused_create(),
            4..8 if self.topics.len() < TOPICS => {
                let partitions = self.random.i32(1..=3);
                self.create(partitions)
            }
            8..11 => self.delete(),
            11..16 => Step::Describe(self.topic_or_none().0),
            16..42 => self.produce(),
            42..47 => self.open_or_subscribe(group),
            47..66 => Step::Read(group),
            66..74 => {
                let by = *self.random.choice(&[0, 0, 0, -1, 5]).unwrap_or(&0);
                Step::Commit { group, by, rewind: self.random.bool() }
            }
            // Whether a commit revives a partition that had nowhere to begin is the engine's choice.
            74..77 if !self.stops[group] => Step::CommitAt(group, self.place(), self.random.i64(-1..5)),
            77..80 => {
                let places = (0..3).map(|_| self.place()).collect();
                Step::Committed(group, places)
            }
            80..86 => {
                let to = *self.random.choice(&[0, 1, 2, 5, -1, 10_000]).unwrap_or(&0);
                Step::Seek(group, self.place(), to)
            }
            86..89 => Step::Pause(group, self.place()),
            89..92 => Step::Resume(group, self.place()),
            92..94 => Step::Watermarks(group, self.place()),
            94..96 => Step::OffsetForTime(group, self.place(), self.random.i64(-5_000_000..5_000_000)),
            96..98 => Step::Group(group),
            98 => {
                self.groups[group] = None;
                Step::Close(group)
            }
            _ => Step::Read(group),
        }
    }

    fn create(&mut self, partitions: i32) -> Step {
        self.made += 1;
        let name = format!("topic{}", self.made);
        self.topics.push((name.clone(), partitions));
        Step::Create { name, partitions, replicas: 1, config: None }
    }

    /// A topic that is not made: it is there, or the request is bad.
    fn refused_create(&mut self) -> Step {
        let (name, partitions) = self.topic();
        let fresh = format!("refused{}", self.random.u8(..));
        let (name, partitions, replicas, config) = match self.random.u8(..10) {
            0 => (name, partitions, 1, None),
            1 => (name, partitions + 1, 1, None),
            2 => (fresh, 0, 1, None),
            3 => (fresh, -2, 1, None),
            4 => (fresh, 1, 3, None),
            5 => (fresh, 1, 0, None),
            6 => (fresh, 1, 1, Some(("max.message.bytes", "-5"))),
            7 => (fresh, 1, 1, Some(("no.such.setting", "1"))),
            8 => (format!("{fresh} with spaces"), 1, 1, None),
            _ => (fresh, 1, 1, Some(("cleanup.policy", "shred"))),
        };
        Step::Create { name, partitions, replicas, config }
    }

    /// Deletes a topic that nobody reads, else one that is not there.
    fn delete(&mut self) -> Step {
        let read = |name: &String| self.groups.iter().flatten().flatten().any(|topic| topic == name);
        // The first two stay, so that there is always something to write to.
        match self.topics.iter().skip(2).position(|(name, _)| !read(name)) {
            Some(index) => Step::Delete(self.topics.remove(index + 2).0),
            None => Step::Delete("nowhere".to_owned()),
        }
    }

    fn topic(&mut self) -> (String, i32) {
        let index = self.random.usize(..self.topics.len());
        self.topics[index].clone()
    }

    /// A topic, now and then one that is not there.
    fn topic_or_none(&mut self) -> (String, i32) {
        if self.random.u8(..8) == 0 { ("nowhere".to_owned(), 1) } else { self.topic() }
    }

    /// A partition, now and then one that is not there.
    fn place(&mut self) -> Place {
        let (name, partitions) = self.topic_or_none();
        let partition = if self.random.u8(..12) == 0 { 7 } else { self.random.i32(0..partitions) };
        (name, partition)
    }

    fn open_or_subscribe(&mut self, group: usize) -> Step {
        match &mut self.groups[group] {
            Some(topics) if topics.is_empty() || self.random.u8(..3) > 0 => {
                let count = self.random.usize(1..=2);
                let mut chosen: Vec<_> = (0..count).map(|_| self.topic_or_none().0).collect();
                chosen.sort();
                chosen.dedup();
                self.groups[group] = Some(chosen.clone());
                Step::Subscribe(group, chosen)
            }
            _ => {
                self.groups[group] = Some(Vec::new());
                let resets =
                    [OffsetReset::Earliest, OffsetReset::Earliest, OffsetReset::Latest, OffsetReset::Error];
                let reset = *self.random.choice(&resets).unwrap_or(&OffsetReset::Earliest);
                self.stops[group] = reset == OffsetReset::Error;
                Step::Open(group, reset)
            }
        }
    }

    fn produce(&mut self) -> Step {
        if self.random.u8(..12) == 0 {
            // Alone, because whatever an engine packs together with it is refused with it.
            let mut late = self.record();
            late.time = Some(3 * 3_600_000);
            return Step::Produce(vec![late]);
        }
        let count = self.random.usize(1..=8);
        Step::Produce((0..count).map(|_| self.record()).collect())
    }

    fn record(&mut self) -> Sent {
        self.sent += 1;
        let (topic, partitions) =
            if self.random.u8(..40) == 0 { ("nowhere".to_owned(), 1) } else { self.topic() };
        let partition = match self.random.u8(..20) {
            0 => Some(*self.random.choice(&[-1, partitions, 99]).unwrap_or(&99)),
            1..8 => Some(self.random.i32(0..partitions)),
            _ => None,
        };
        let key = match self.random.u8(..4) {
            // Where a record without a key goes is the engine's choice.
            0 if partition.is_some() || partitions == 1 => None,
            1 => Some(Vec::new()),
            _ => Some((0..self.random.usize(1..6)).map(|_| self.random.u8(..)).collect()),
        };
        let value = match self.random.u8(..12) {
            0 => None,
            1 => Some(Vec::new()),
            2 if self.random.u8(..4) == 0 => Some(vec![b'x'; 3 << 20]),
            _ => Some(self.sent.to_string().into_bytes()),
        };
        let mut headers = Vec::new();
        for _ in 0..self.random.usize(..3) {
            headers.push(
                *self
                    .random
                    .choice(&[("a", Some("1")), ("a", None), ("b", Some("")), ("", Some("2"))])
                    .unwrap_or(&("a", None)),
            );
        }
        let time = (self.random.u8(..6) == 0).then(|| self.random.i64(-5_000_000..1_000_000));
        Sent { topic, partition, key, value, headers, time }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_history_again_and_another_one_another() {
        assert_eq!(history(7, 60), history(7, 60));
        assert_ne!(history(7, 60), history(8, 60));
        assert_eq!(history(7, 60).len(), 60);
    }
}
