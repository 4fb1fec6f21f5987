//! The cluster as one administrative client sees it: topics, bounds of partitions, limits. Every blocking call is made
//! on a worker thread.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use onex_spi::kafka::{
    PartitionInfo, TopicMetadata, TopicPartition, Watermarks, check_topic_name, unknown_partition,
    unknown_topic,
};
use onex_spi::{Clock, Error, Result};
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{IsError, RDKafkaErrorCode as Code};

use crate::native::{self, AdminContext};
use crate::work::{Reaped, Workers};
use crate::{Config, error};

/// How long one question to the cluster may take.
pub(crate) const ANSWER: Duration = Duration::from_secs(5);
/// The topic in which every cluster keeps its groups: asked for where any answer will do.
pub(crate) const GROUPS_TOPIC: &str = "__consumer_offsets";
/// How many blocking questions run at a time.
const THREADS: usize = 4;
/// How long brokers of one cluster may disagree about a new topic before it counts as unknown.
const SPREAD: Duration = Duration::from_millis(200);

/// A topic's partitions by number, with their leaders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) partitions: Vec<PartitionInfo>,
}

impl Layout {
    pub(crate) fn count(&self) -> i32 {
        i32::try_from(self.partitions.len()).unwrap_or(i32::MAX)
    }

    pub(crate) fn all_led(&self) -> bool {
        self.partitions.iter().all(|partition| partition.leader.is_some())
    }
}

pub(crate) type Admin = AdminClient<AdminContext>;

/// One administrative client, made at the first question.
#[derive(Debug)]
pub(crate) struct Cluster {
    config: Config,
    clock: Arc<dyn Clock>,
    pub(crate) workers: Workers,
    admin: Arc<Mutex<Option<Arc<Reaped<Admin>>>>>,
    /// Held while the client is made, on worker threads only: two callers at once must not make two.
    making: Arc<Mutex<()>>,
}

impl Cluster {
    pub(crate) fn new(config: Config, clock: Arc<dyn Clock>) -> Self {
        let workers = Workers::new("onex-kafka-ask", THREADS);
        Self { config, clock, workers, admin: Arc::default(), making: Arc::default() }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The instant `within` from now; one that no clock can name counts as a century.
    pub(crate) fn deadline(&self, within: Duration) -> Instant {
        self.clock.after(within)
    }

    /// The administrative client; made on a worker thread, because that starts threads of librdkafka.
    pub(crate) async fn admin(&self, operation: &'static str) -> Result<Arc<Reaped<Admin>>> {
        let made = |slot: &Mutex<Option<_>>| slot.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(admin) = made(&self.admin) {
            return Ok(admin);
        }
        let (slot, making, config) = (Arc::clone(&self.admin), Arc::clone(&self.making), self.config.clone());
        let make = move || {
            let _making = making.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(admin) = made(&slot) {
                return Ok(admin);
            }
            let admin = Admin::from_config_and_context(&native::client(&config), AdminContext::default())
                .map_err(|error| error::of_native(&error, operation, "the administrative client"))?;
            let admin = Arc::new(Reaped::new(admin));
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&admin));
            Ok(admin)
        };
        self.workers.run(operation, make).await?
    }

    /// Asks any broker anything: that one answers is the point.
    pub(crate) async fn reach(&self, within: Duration, operation: &'static str) -> Result<()> {
        let admin = self.admin(operation).await?;
        let ask = move || {
            let answer = ask_layout(admin.inner(), GROUPS_TOPIC, within, operation);
            answer.map(drop).map_err(|error| admin.inner().context().notes.explain(error, operation))
        };
        self.workers.run(operation, ask).await?
    }

    /// Ends the administrative client; a later question makes a new one.
    pub(crate) fn release(&self) {
        drop(self.admin.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Asks a broker for a topic's partitions; never creates it.
    pub(crate) async fn layout(&self, topic: &str, operation: &'static str) -> Result<Layout> {
        let admin = self.admin(operation).await?;
        let name = topic.to_owned();
        let ask = move |admin: &Arc<Reaped<Admin>>| match ask_layout(admin.inner(), &name, ANSWER, operation)
        {
            Ok(asked) => Ok(asked),
            Err(error) => Err(admin.inner().context().notes.explain(error, operation)),
        };
        self.until_spread(operation, ask, admin).await
    }

    /// Asks again for a topic that one of several brokers does not know, because another may have just created it.
    pub(crate) async fn until_spread<H: Clone + Send + 'static>(
        &self,
        operation: &'static str,
        ask: impl Fn(&H) -> Result<Asked> + Clone + Send + 'static,
        handle: H,
    ) -> Result<Layout> {
        let mut pace = Pace::new(&self.clock, SPREAD);
        loop {
            let (again, by) = (ask.clone(), handle.clone());
            let asked = self.workers.run(operation, move || again(&by)).await??;
            match asked {
                Asked::Found(layout) => return Ok(layout),
                Asked::Unknown { brokers, error } => {
                    if brokers <= 1 || !pace.wait().await {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Asks for the oldest offset of a partition and the one after its newest readable record.
    pub(crate) async fn watermarks(
        &self,
        partition: &TopicPartition,
        operation: &'static str,
    ) -> Result<Watermarks> {
        check_topic_name(operation, &partition.topic)?;
        let layout = self.layout(&partition.topic, operation).await?;
        if partition.partition < 0 || partition.partition >= layout.count() {
            return Err(unknown_partition(operation, partition));
        }
        self.bounds(partition, operation).await
    }

    /// Asks a partition's leader for its bounds; a leader that metadata names may need a moment to know that it is one.
    pub(crate) async fn bounds(&self, at: &TopicPartition, operation: &'static str) -> Result<Watermarks> {
        let mut pace = Pace::new(&self.clock, ANSWER);
        loop {
            let (admin, of) = (self.admin(operation).await?, at.clone());
            let ask = move || ask_watermarks(admin.inner(), &of, operation);
            match self.workers.run(operation, ask).await? {
                Err(error) if is_electing(&error) && pace.wait().await => {}
                answer => return answer,
            }
        }
    }

    /// Describes a topic with the bounds of its partitions.
    pub(crate) async fn metadata(&self, topic: &str, operation: &'static str) -> Result<TopicMetadata> {
        check_topic_name(operation, topic)?;
        let layout = self.layout(topic, operation).await?;
        let (name, mut partitions) = (Arc::<str>::from(topic), layout.partitions);
        // A partition without a leader has bounds that nobody can tell now.
        for partition in partitions.iter_mut().filter(|partition| partition.leader.is_some()) {
            let at = TopicPartition::new(Arc::clone(&name), partition.partition);
            let bounds = self.bounds(&at, operation).await?;
            (partition.low, partition.high) = (bounds.low, bounds.high);
        }
        Ok(TopicMetadata::new(name, partitions))
    }

    /// The topic's own limit for a batch on the wire; `None` where the cluster does not tell.
    pub(crate) async fn batch_limit(&self, topic: &str, operation: &'static str) -> Result<Option<usize>> {
        let admin = self.admin(operation).await?;
        let options = AdminOptions::new().request_timeout(Some(ANSWER));
        let described = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options).await;
        let described = described.map_err(|error| {
            let error = error::of_native(&error, operation, format_args!("limits of topic {topic}"));
            admin.inner().context().notes.explain(error, operation)
        })?;
        // A missing right to read settings answers per resource: the limit is then unknown, which is no error.
        let entry = described.into_iter().next().and_then(std::result::Result::ok);
        let limit = entry.as_ref().and_then(|topic| topic.get("max.message.bytes"));
        Ok(limit.and_then(|limit| limit.value.as_deref()?.parse().ok()))
    }
}

/// What a broker said about a topic.
pub(crate) enum Asked {
    Found(Layout),
    Unknown { brokers: usize, error: Error },
}

/// Asks one broker for a topic's partitions; blocks.
pub(crate) fn ask_layout<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    within: Duration,
    operation: &'static str,
) -> Result<Asked> {
    let about = format_args!("topic {topic}");
    let metadata =
        client.fetch_metadata(Some(topic), within).map_err(|error| match error::code_of(&error) {
            // Asking changes nothing, whatever became of the question.
            Some(code) => error::of_code(code, operation, about).not_applied(),
            None => error::of_native(&error, operation, about).not_applied(),
        })?;
    let brokers = metadata.brokers().len();
    let Some(found) = metadata.topics().first() else {
        return Ok(Asked::Unknown { brokers, error: unknown_topic(operation, topic) });
    };
    if let Some(code) = found.error().map(Code::from) {
        return match code {
            Code::UnknownTopicOrPartition | Code::UnknownTopic => {
                Ok(Asked::Unknown { brokers, error: unknown_topic(operation, topic) })
            }
            code => Err(error::of_code(code, operation, about).not_applied()),
        };
    }
    let mut partitions: Vec<PartitionInfo> = found
        .partitions()
        .iter()
        .map(|partition| {
            let mut info = PartitionInfo::new(partition.id(), partition.leader(), 0, 0);
            let led = partition.leader() >= 0 && !partition.error().is_some_and(|code| code.is_error());
            info.leader = led.then_some(partition.leader());
            info.replicas = partition.replicas().to_vec();
            info.in_sync = partition.isr().to_vec();
            info
        })
        .collect();
    partitions.sort_by_key(|partition| partition.partition);
    Ok(Asked::Found(Layout { partitions }))
}

fn ask_watermarks<C: ClientContext>(
    client: &Client<C>,
    at: &TopicPartition,
    operation: &'static str,
) -> Result<Watermarks> {
    let asked = client.fetch_watermarks(&at.topic, at.partition, ANSWER);
    let (low, high) = asked.map_err(|error| {
        error::at(
            error::of_native(&error, operation, format_args!("bounds of {at}")).not_applied(),
            at.clone(),
        )
    })?;
    Ok(Watermarks::new(low, high))
}

/// Whether the answer is only that a partition's leader is not ready.
pub(crate) fn is_electing(error: &Error) -> bool {
    let name = error.kafka().map(|fault| &*fault.name);
    matches!(name, Some("NOT_LEADER_OR_FOLLOWER" | "LEADER_NOT_AVAILABLE" | "UNKNOWN_TOPIC_OR_PARTITION"))
}

/// Asks again and again, with growing pauses on the clock, for what no broker announces.
pub(crate) struct Pace<'c> {
    clock: &'c Arc<dyn Clock>,
    deadline: Instant,
    pause: Duration,
}

impl<'c> Pace<'c> {
    pub(crate) fn new(clock: &'c Arc<dyn Clock>, within: Duration) -> Self {
        Self { clock, deadline: clock.now() + within, pause: Duration::from_millis(2) }
    }

    /// Waits for the next try; `false` where the time is over.
    pub(crate) async fn wait(&mut self) -> bool {
        let now = self.clock.now();
        if now >= self.deadline {
            return false;
        }
        self.clock.sleep_until((now + self.pause).min(self.deadline)).await;
        self.pause = (self.pause * 2).min(Duration::from_millis(100));
        true
    }
}
