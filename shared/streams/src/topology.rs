//! Typed operators over [`crate::stage`].
//!
//! ```no_run
//! # use ratestream_streams::Streams;
//! # fn decode(_: &[u8]) -> Option<i32> { None }
//! let mut streams = Streams::new("low-rates");
//! streams.stream("rates", decode).filter(|_, rate| *rate < 3).for_each(|_, rate| tracing::info!(rate, "low"));
//! ```
//!
//! `group_by` writes to a repartition topic, so each group is counted in one place; everything behind it is another stage.
//! Effects of `for_each` and `peek` happen at least once (a rolled-back transaction repeats them); records exactly once.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ratestream_kafka::{Kafka, TopicSpec};
use ratestream_runtime::Supervisor;

use crate::stage::{Stage, StageStatus, supervise};
use crate::task::{Incoming, Output, Produced, Task, TaskError};

/// What a node of the chain works with: the outputs and this partition's state.
pub struct Scope<'a> {
    output: &'a mut Output,
    tables: &'a mut Tables,
}

/// State by store and key; values as their changelog bytes.
type Tables = HashMap<Vec<u8>, Vec<u8>>;
type Node<T> = Arc<dyn Fn(&[u8], T, &mut Scope<'_>) + Send + Sync>;
type Root = Arc<dyn Fn(&Incoming<'_>, &mut Scope<'_>) + Send + Sync>;
type Stages = Arc<Mutex<Vec<Planned>>>;

struct Planned {
    input: String,
    root: Root,
    repartition: bool,
    stateful: bool,
}

/// A program: operators are added to it, then it is started.
pub struct Streams {
    application: String,
    stages: Stages,
}

/// A stream of keyed values. Each operator consumes it.
pub struct Flow<T> {
    application: String,
    stages: Stages,
    stateful: bool,
    input: String,
    repartition: bool,
    attach: Box<dyn FnOnce(Node<T>) -> Root>,
}

/// A stream whose records of one group are in one place.
pub struct Grouped<T>(Flow<T>);

impl Streams {
    /// A program; `application` names its consumer groups, transactional ids and internal topics.
    pub fn new(application: &str) -> Streams {
        Streams { application: application.to_owned(), stages: Stages::default() }
    }

    /// The records of a topic, without tombstones; what `decode` refuses is left out.
    pub fn stream<T: 'static>(
        &mut self,
        topic: &str,
        decode: impl Fn(&[u8]) -> Option<T> + Send + Sync + 'static,
    ) -> Flow<T> {
        let attach = move |next: Node<T>| -> Root {
            Arc::new(move |record, scope| {
                if let Some(value) = record.value.and_then(&decode) {
                    next(record.key.unwrap_or_default(), value, scope);
                }
            })
        };
        Flow {
            application: self.application.clone(),
            stages: self.stages.clone(),
            stateful: false,
            input: topic.to_owned(),
            repartition: false,
            attach: Box::new(attach),
        }
    }

    /// Starts every stage under a supervisor; returns the status of each in order. Repartition topics get `partitions`.
    ///
    /// # Errors
    /// When the repartition topics cannot be created.
    pub async fn start(
        self,
        supervisor: &Supervisor,
        kafka: &Kafka,
        partitions: i32,
    ) -> Result<Vec<Arc<StageStatus>>, ratestream_kafka::KafkaError> {
        let planned: Vec<Planned> = std::mem::take(&mut *self.stages.lock().unwrap_or_else(PoisonError::into_inner));
        let internal: Vec<TopicSpec> = planned
            .iter()
            .filter(|stage| stage.repartition)
            .map(|stage| TopicSpec::plain(&stage.input, partitions).with("retention.ms", "-1"))
            .collect();
        if !internal.is_empty() {
            kafka.ensure_topics(&internal).await?;
        }
        let start = planned.into_iter().enumerate().map(|(number, planned)| {
            let application = format!("{}-{number}", self.application);
            let root = planned.root;
            let stage = Stage {
                changelog: planned.stateful.then(|| format!("{application}-changelog")),
                inputs: vec![planned.input],
                from_beginning: true,
                commit_interval: Duration::from_millis(100),
                task: Arc::new(move |_| Box::new(Chain { root: root.clone(), tables: Tables::new() })),
                application,
            };
            let status = Arc::<StageStatus>::default();
            supervise(supervisor, kafka, stage, status.clone());
            status
        });
        Ok(start.collect())
    }
}

impl<T: 'static> Flow<T> {
    fn then<U: 'static>(self, step: impl FnOnce(Node<U>) -> Node<T> + 'static) -> Flow<U> {
        let Flow { application, stages, stateful, input, repartition, attach } = self;
        let attach = Box::new(move |next: Node<U>| attach(step(next)));
        Flow { application, stages, stateful, input, repartition, attach }
    }

    fn end(self, last: Node<T>) {
        let Flow { stages, stateful, input, repartition, attach, .. } = self;
        let planned = Planned { input, root: attach(last), repartition, stateful };
        stages.lock().unwrap_or_else(PoisonError::into_inner).push(planned);
    }

    /// Keeps the records for which `keep` says yes.
    #[must_use]
    pub fn filter(self, keep: impl Fn(&[u8], &T) -> bool + Send + Sync + 'static) -> Flow<T> {
        self.then(|next| {
            Arc::new(move |key, value, scope| {
                if keep(key, &value) {
                    next(key, value, scope);
                }
            })
        })
    }

    /// Turns each value into another.
    #[must_use]
    pub fn map<U: 'static>(self, change: impl Fn(&[u8], T) -> U + Send + Sync + 'static) -> Flow<U> {
        self.then(|next| Arc::new(move |key, value, scope| next(key, change(key, value), scope)))
    }

    /// Turns each value into any number of others.
    #[must_use]
    pub fn flat_map<U: 'static, I: IntoIterator<Item = U>>(
        self,
        change: impl Fn(&[u8], T) -> I + Send + Sync + 'static,
    ) -> Flow<U> {
        self.then(|next| {
            Arc::new(move |key, value, scope| {
                for value in change(key, value) {
                    next(key, value, scope);
                }
            })
        })
    }

    /// Looks at each record on its way.
    #[must_use]
    pub fn peek(self, look: impl Fn(&[u8], &T) + Send + Sync + 'static) -> Flow<T> {
        self.then(|next| {
            Arc::new(move |key, value, scope| {
                look(key, &value);
                next(key, value, scope);
            })
        })
    }

    /// Does something with each record, and ends the chain.
    pub fn for_each(self, act: impl Fn(&[u8], T) + Send + Sync + 'static) {
        self.end(Arc::new(move |key, value, _| act(key, value)));
    }

    /// Writes each record to a topic under its key, and ends the chain. An `encode` of none writes a tombstone.
    pub fn to(self, topic: &str, encode: impl Fn(&T) -> Option<Vec<u8>> + Send + Sync + 'static) {
        let topic = topic.to_owned();
        self.end(Arc::new(move |key, value, scope| {
            scope.output.send(Produced {
                topic: topic.clone(),
                key: Some(key.to_vec()),
                value: encode(&value),
                ..Produced::default()
            });
        }));
    }

    /// Gives each record the key of its group and brings the records of one group to one place, over an internal topic.
    #[must_use]
    pub fn group_by<U: 'static>(
        self,
        key: impl Fn(&[u8], &T) -> Vec<u8> + Send + Sync + 'static,
        encode: impl Fn(&T) -> Vec<u8> + Send + Sync + 'static,
        decode: impl Fn(&[u8]) -> Option<U> + Send + Sync + 'static,
    ) -> Grouped<U> {
        let number = self.stages.lock().unwrap_or_else(PoisonError::into_inner).len();
        let topic = format!("{}-{number}-repartition", self.application);
        let (application, stages) = (self.application.clone(), self.stages.clone());
        let sink = topic.clone();
        self.end(Arc::new(move |old, value, scope| {
            scope.output.send(Produced {
                topic: sink.clone(),
                key: Some(key(old, &value)),
                value: Some(encode(&value)),
                ..Produced::default()
            });
        }));
        let mut next = Streams { application: application.clone(), stages: stages.clone() }.stream(&topic, decode);
        next.repartition = true;
        Grouped(next)
    }
}

impl<T: 'static> Grouped<T> {
    /// How many records each group has had.
    #[must_use]
    pub fn count(self) -> Flow<i64> {
        let read = |bytes: &[u8]| bytes.try_into().ok().map(i64::from_be_bytes);
        self.aggregate(|| 0, |_, _, count| count + 1, |count| count.to_be_bytes().to_vec(), read)
    }

    /// Folds the records of each group; the state survives everything that the changelog survives.
    #[must_use]
    pub fn aggregate<S: Clone + Any + Send + Sync>(
        self,
        initial: impl Fn() -> S + Send + Sync + 'static,
        fold: impl Fn(&[u8], &T, S) -> S + Send + Sync + 'static,
        encode: impl Fn(&S) -> Vec<u8> + Send + Sync + 'static,
        decode: impl Fn(&[u8]) -> Option<S> + Send + Sync + 'static,
    ) -> Flow<S> {
        let mut flow = self.0;
        flow.stateful = true;
        flow.then(|next: Node<S>| {
            Arc::new(move |key: &[u8], value: T, scope: &mut Scope<'_>| {
                let old = scope.tables.get(key).and_then(|bytes| decode(bytes)).unwrap_or_else(&initial);
                let new = fold(key, &value, old);
                let bytes = encode(&new);
                scope.tables.insert(key.to_vec(), bytes.clone());
                scope.output.remember(key.to_vec(), Some(bytes));
                next(key, new, scope);
            })
        })
    }
}

/// The task that a chain of operators becomes.
struct Chain {
    root: Root,
    tables: Tables,
}

impl Task for Chain {
    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), TaskError> {
        match value {
            Some(value) => self.tables.insert(key.to_vec(), value.to_vec()),
            None => self.tables.remove(key),
        };
        Ok(())
    }

    fn process(&mut self, record: &Incoming<'_>, output: &mut Output) -> Result<(), TaskError> {
        (self.root)(record, &mut Scope { output, tables: &mut self.tables });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(bytes: &[u8]) -> Option<i64> {
        std::str::from_utf8(bytes).ok()?.parse().ok()
    }

    fn chains(streams: Streams) -> Vec<Chain> {
        let planned = std::mem::take(&mut *streams.stages.lock().unwrap());
        planned.into_iter().map(|stage| Chain { root: stage.root, tables: Tables::new() }).collect()
    }

    fn feed(chain: &mut Chain, key: &[u8], value: &[u8]) -> Output {
        let mut output = Output::default();
        let record = Incoming { key: Some(key), value: Some(value), ..Incoming::default() };
        chain.process(&record, &mut output).unwrap();
        output
    }

    #[test]
    fn operators_follow_each_other() {
        let mut streams = Streams::new("t");
        streams
            .stream("in", number)
            .filter(|_, n| *n > 1)
            .map(|_, n| n * 10)
            .flat_map(|_, n| [n, n + 1])
            .to("out", |n| Some(n.to_string().into_bytes()));
        let mut chain = chains(streams).remove(0);
        assert!(feed(&mut chain, b"k", b"1").records().is_empty());
        assert!(feed(&mut chain, b"k", b"text").records().is_empty());
        let values: Vec<_> = feed(&mut chain, b"k", b"2").records.into_iter().filter_map(|r| r.value).collect();
        assert_eq!(values, [b"20".to_vec(), b"21".to_vec()]);
    }

    #[test]
    fn a_count_goes_over_a_repartition_topic_and_is_restored() {
        let mut streams = Streams::new("t");
        let raw = |bytes: &[u8]| Some(bytes.to_vec());
        streams
            .stream("in", raw)
            .group_by(|_, v| v.clone(), |_| Vec::new(), |_| Some(()))
            .count()
            .to("counts", |n| Some(n.to_string().into_bytes()));
        let mut chains = chains(streams);
        let moved = feed(&mut chains[0], b"1", b"EG");
        assert_eq!(
            (moved.records[0].topic.as_str(), moved.records[0].key.as_deref()),
            ("t-0-repartition", Some(&b"EG"[..]))
        );
        feed(&mut chains[1], b"EG", b"");
        let second = feed(&mut chains[1], b"EG", b"");
        assert_eq!(second.records[0].value.as_deref(), Some(&b"2"[..]));
        let mut fresh = Chain { root: chains[1].root.clone(), tables: Tables::new() };
        for (key, value) in second.changes() {
            fresh.restore(key, value.as_deref()).unwrap();
        }
        assert_eq!(feed(&mut fresh, b"EG", b"").records[0].value.as_deref(), Some(&b"3"[..]));
    }
}
