//! Settings of clients, and topics.

use crate::error::KafkaError;
use ratestream_runtime::KafkaSettings;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const REQUEST: Duration = Duration::from_secs(15);
/// A group member that says nothing for so long is replaced: bounds every takeover.
const SESSION_MS: &str = "6000";
/// Bytes that librdkafka may hold for one consumer; its default is 64 MiB.
const QUEUE_KBYTES: &str = "16384";

/// How to reach one cluster. Cheap to clone; opens nothing.
#[derive(Clone, Debug)]
pub struct Kafka(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    base: ClientConfig,
    replication: i32,
}

/// A topic that must exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// Partitions when it has to be created; -1 = the broker's default.
    pub partitions: i32,
    /// `cleanup.policy=compact`.
    pub compacted: bool,
    /// Further topic properties.
    pub config: BTreeMap<String, String>,
}

impl TopicSpec {
    /// A topic whose newest value by key is kept for ever.
    pub fn compacted(name: impl Into<String>, partitions: i32) -> TopicSpec {
        TopicSpec { name: name.into(), partitions, compacted: true, config: BTreeMap::new() }
    }

    /// A topic with the broker's retention.
    pub fn plain(name: impl Into<String>, partitions: i32) -> TopicSpec {
        TopicSpec { name: name.into(), partitions, compacted: false, config: BTreeMap::new() }
    }

    /// Adds a topic property.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> TopicSpec {
        self.config.insert(key.to_owned(), value.into());
        self
    }
}

impl Kafka {
    /// Settings for `client_id`; properties of the configuration win over ours.
    pub fn new(settings: &KafkaSettings, client_id: &str) -> Kafka {
        let mut base = ClientConfig::new();
        base.set("bootstrap.servers", &settings.brokers)
            .set("client.id", client_id)
            .set("socket.nagle.disable", "true")
            .set("socket.keepalive.enable", "true")
            .set("retry.backoff.ms", "20")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "2000")
            .set("topic.metadata.refresh.interval.ms", "30000")
            .set("topic.metadata.propagation.max.ms", "5000")
            .set("log_level", "3");
        for (key, value) in &settings.properties {
            base.set(key, value);
        }
        Kafka(Arc::new(Inner { base, replication: settings.replication_factor }))
    }

    /// An idempotent producer that waits for all replicas.
    pub fn producer_config(&self) -> ClientConfig {
        let mut config = self.0.base.clone();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "2")
            .set("queue.buffering.max.kbytes", "32768")
            .set("compression.type", "none");
        config
    }

    /// A member of `group`: read committed, from the earliest offset, commits by hand.
    pub fn consumer_config(&self, group: &str) -> ClientConfig {
        let mut config = self.reader_config();
        config
            .set("group.id", group)
            .set("auto.offset.reset", "earliest")
            // An idle fetch waits at the broker for news, which end it at once: a longer wait costs nothing but fewer wake-ups.
            .set("fetch.wait.max.ms", "500")
            .set("session.timeout.ms", SESSION_MS)
            .set("heartbeat.interval.ms", "1500")
            .set("max.poll.interval.ms", "300000")
            .set("partition.assignment.strategy", "range")
            .set("topic.metadata.refresh.interval.ms", "5000")
            .set("allow.auto.create.topics", "false");
        config
    }

    /// A consumer that assigns its partitions itself: read committed, no group.
    pub fn reader_config(&self) -> ClientConfig {
        let mut config = self.0.base.clone();
        config
            // librdkafka insists on a group id even where no group is used.
            .set("group.id", "ratestream-reader")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true")
            // Its default of one second makes a partition sleep whenever the local queue was full.
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.wait.max.ms", "100")
            .set("queued.max.messages.kbytes", QUEUE_KBYTES);
        config
    }

    /// Creates the topics that are missing; those that exist stay as they are.
    pub async fn ensure_topics(&self, specs: &[TopicSpec]) -> Result<(), KafkaError> {
        let admin: AdminClient<DefaultClientContext> =
            self.0.base.create().map_err(|cause| KafkaError::new("the admin client", cause))?;
        let topics: Vec<NewTopic<'_>> = specs
            .iter()
            .map(|spec| {
                let mut topic = NewTopic::new(&spec.name, spec.partitions, TopicReplication::Fixed(self.0.replication));
                if spec.compacted {
                    topic = topic.set("cleanup.policy", "compact");
                }
                spec.config.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
            })
            .collect();
        let options = AdminOptions::new().request_timeout(Some(REQUEST)).operation_timeout(Some(REQUEST));
        let results = admin
            .create_topics(&topics, &options)
            .await
            .map_err(|cause| KafkaError::new("the creation of topics", cause))?;
        for result in results {
            if let Err((name, code)) = result
                && code != RDKafkaErrorCode::TopicAlreadyExists
            {
                let cause = rdkafka::error::KafkaError::Global(code);
                return Err(KafkaError::new(format!("the creation of topic {name}"), cause));
            }
        }
        Ok(())
    }

    /// Partitions of a topic; none when it does not exist.
    pub async fn partition_count(&self, topic: &str) -> Result<Option<i32>, KafkaError> {
        let (this, topic) = (self.clone(), topic.to_owned());
        tokio::task::spawn_blocking(move || this.partition_count_blocking(&topic)).await.unwrap_or_else(|_| Ok(None))
    }

    /// As [`Kafka::partition_count`], for a caller on a thread of its own.
    pub fn partition_count_blocking(&self, topic: &str) -> Result<Option<i32>, KafkaError> {
        let mut config = self.reader_config();
        let consumer: BaseConsumer = config
            .set("allow.auto.create.topics", "false")
            .create()
            .map_err(|cause| KafkaError::new("a consumer", cause))?;
        let metadata = consumer
            .fetch_metadata(Some(topic), REQUEST)
            .map_err(|cause| KafkaError::new(format!("the metadata of topic {topic}"), cause))?;
        let found = metadata.topics().iter().find(|t| t.name() == topic && t.error().is_none());
        Ok(found.map(|t| t.partitions().len() as i32).filter(|count| *count > 0))
    }

    /// Names of all topics.
    pub fn topics_blocking(&self) -> Result<Vec<String>, KafkaError> {
        let consumer: BaseConsumer =
            self.reader_config().create().map_err(|cause| KafkaError::new("a consumer", cause))?;
        let metadata =
            consumer.fetch_metadata(None, REQUEST).map_err(|cause| KafkaError::new("the list of topics", cause))?;
        Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
    }

    /// The cluster's id, as Connect shows it.
    pub fn cluster_id_blocking(&self) -> Option<String> {
        let consumer: BaseConsumer = self.reader_config().create().ok()?;
        consumer.client().fetch_cluster_id(REQUEST)
    }
}
