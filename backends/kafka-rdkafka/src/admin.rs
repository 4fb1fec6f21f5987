//! Creating and deleting topics: honest outcomes, resolved once a later call sees them (K20).
//!
//! ```text
//!  create ─► controller's answer ─► ask until every partition has a leader that answers ─► Created
//!  delete ─► controller's answer ─► ask until the topic is unknown                       ─► Deleted
//! ```
//! No broker announces that its metadata has caught up, so asking with growing pauses on the clock is the only way.

use std::time::Duration;

use onex_spi::kafka::{CreateTopicRequest, KafkaFault, TopicOutcome, TopicPartition, check_topic_name};
use onex_spi::{Effect, Error, ErrorKind, Result};
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication, TopicResult};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode as Code};

use crate::cluster::{ANSWER, Admin, Asked, Cluster, Pace, ask_layout, is_electing};
use crate::error;
use crate::work::Reaped;

/// How long metadata may take to show a change that the controller has made.
const VISIBLE: Duration = Duration::from_secs(10);

/// More than that librdkafka itself would refuse without a code.
const MOST_PARTITIONS: i32 = 100_000;

impl Cluster {
    /// Creates a topic whose request was validated.
    pub(crate) async fn create_topic(&self, request: CreateTopicRequest) -> Result<TopicOutcome> {
        const CALL: &str = "kafka.create_topic";
        if request.partitions > MOST_PARTITIONS {
            let text =
                format!("{} partitions: librdkafka asks for at most {MOST_PARTITIONS}", request.partitions);
            let fault = KafkaFault::new("INVALID_PARTITIONS").with_code(37);
            return Err(Error::invalid(CALL, text).with_detail(fault));
        }
        let admin = self.admin(CALL).await?;
        let replicas = TopicReplication::Fixed(i32::from(request.replication_factor));
        let mut topic = NewTopic::new(&request.name, request.partitions, replicas);
        for (key, value) in &request.config {
            if key.contains('\0') || value.contains('\0') {
                return Err(Error::invalid(CALL, format!("the setting {key:?} holds a NUL byte"))
                    .with_detail(KafkaFault::new("INVALID_CONFIG").with_code(40)));
            }
            topic = topic.set(key, value);
        }
        let answer = admin.create_topics([&topic], &options()).await;
        match self.outcome(answer, &admin, CALL, &request.name)? {
            None => {}
            Some(Code::TopicAlreadyExists) => return Ok(TopicOutcome::Existed),
            Some(code) => {
                return Err(error::of_code(code, CALL, format_args!("topic {}", request.name)));
            }
        }
        let led = |asked: &Asked| matches!(asked, Asked::Found(layout) if layout.all_led());
        if let Asked::Found(layout) = self.until(CALL, &request.name, led).await? {
            for partition in &layout.partitions {
                let at = TopicPartition::new(&*request.name, partition.partition);
                // The topic is there, whatever its leaders say.
                self.bounds(&at, CALL).await.map_err(|error| error.with_effect(Effect::Unknown))?;
            }
        }
        Ok(TopicOutcome::Created)
    }

    pub(crate) async fn delete_topic(&self, name: &str) -> Result<TopicOutcome> {
        const CALL: &str = "kafka.delete_topic";
        check_topic_name(CALL, name)?;
        let admin = self.admin(CALL).await?;
        let answer = admin.delete_topics(&[name], &options()).await;
        match self.outcome(answer, &admin, CALL, name)? {
            None => {}
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => return Ok(TopicOutcome::Absent),
            Some(code) => return Err(error::of_code(code, CALL, format_args!("topic {name}"))),
        }
        self.until(CALL, name, |asked| matches!(asked, Asked::Unknown { .. })).await?;
        Ok(TopicOutcome::Deleted)
    }

    /// The one topic's answer: `None` = done, else the refusal's code.
    fn outcome(
        &self,
        answer: KafkaResult<Vec<TopicResult>>,
        admin: &Reaped<Admin>,
        operation: &'static str,
        topic: &str,
    ) -> Result<Option<Code>> {
        let about = format_args!("topic {topic}");
        let results = answer.map_err(|error| {
            let error = error::of_question(&error, operation, about, &self.config().bootstrap_servers);
            admin.inner().context().notes.explain(error, operation)
        })?;
        match results.into_iter().next() {
            Some(Ok(_)) => Ok(None),
            Some(Err((_, code))) => Ok(Some(code)),
            None => Err(Error::new(
                ErrorKind::Unclassified,
                operation,
                format!("{about}: an answer without a result"),
            )),
        }
    }

    /// Waits until metadata shows a change that the controller has made.
    async fn until(
        &self,
        operation: &'static str,
        topic: &str,
        shows: impl Fn(&Asked) -> bool,
    ) -> Result<Asked> {
        let mut pace = Pace::new(self.clock(), VISIBLE);
        loop {
            let (admin, name) = (self.admin(operation).await?, topic.to_owned());
            let ask = move || ask_layout(admin.inner(), &name, ANSWER, operation);
            match self.workers.run(operation, ask).await? {
                Ok(asked) if shows(&asked) => return Ok(asked),
                Ok(_) => {}
                Err(error) if is_electing(&error) => {}
                // The change was made, whatever metadata says about it.
                Err(error) => return Err(error.with_effect(Effect::Unknown)),
            }
            if !pace.wait().await {
                let text = format!(
                    "topic {topic}: the change was made, but no metadata showed it within {VISIBLE:?}"
                );
                return Err(Error::new(ErrorKind::TimedOut, operation, text));
            }
        }
    }
}

/// Asks the controller to answer only once it has made the change.
fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ANSWER)).operation_timeout(Some(ANSWER))
}
