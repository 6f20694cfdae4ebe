//! Rows as bytes: ksqlDB's three forms of a result, and the reader behind a push query on a stream.

use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use ratestream_kafka::rdkafka::consumer::{BaseConsumer, Consumer};
use ratestream_kafka::rdkafka::message::Message;
use ratestream_kafka::rdkafka::{Offset, TopicPartitionList};
use ratestream_runtime::Shutdown;
use ratestream_streams::Incoming;
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;

use super::query::Shown;
use crate::engine::decode::{DecodeError, Decoded, Decoder};
use crate::state::State;

/// One line of a result.
#[derive(Clone, Debug)]
pub enum Frame {
    /// A row; of a row that went only key columns are not null.
    Row {
        /// Values by position.
        columns: Vec<Json>,
        /// It went.
        gone: bool,
    },
    /// The query cannot go on.
    Error(String),
    /// LIMIT was reached.
    Limit,
}

/// What stands before the rows.
pub struct Header {
    /// Empty for pull queries.
    pub query_id: String,
    /// Name, type, whether it is a key column.
    pub columns: Vec<(String, String, bool)>,
}

/// How a result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/vnd.ksql.v1+json`: an array of `{"header"}`, `{"row"}`, one a line.
    Tagged,
    /// `application/vnd.ksqlapi.delimited.v1`: a header object, then one array a line.
    Delimited,
    /// `application/json`: one array of the same.
    Array,
}

fn accepts(request: &HttpRequest, media: &str) -> bool {
    request.headers().get("accept").and_then(|value| value.to_str().ok()).is_some_and(|accept| accept.contains(media))
}

impl Format {
    /// `/query`: tagged unless delimited rows are asked for.
    pub fn of_old(request: &HttpRequest) -> Format {
        if accepts(request, "delimited") { Format::Delimited } else { Format::Tagged }
    }

    /// `/query-stream`: delimited unless another form is asked for.
    pub fn of_new(request: &HttpRequest) -> Format {
        if accepts(request, "vnd.ksql.v1+json") {
            Format::Tagged
        } else if accepts(request, "application/json") {
            Format::Array
        } else {
            Format::Delimited
        }
    }

    fn media(self) -> &'static str {
        match self {
            Format::Tagged => super::KSQL_V1,
            Format::Delimited => "application/vnd.ksqlapi.delimited.v1",
            Format::Array => "application/json",
        }
    }

    fn open(self, header: &Header) -> String {
        let names: Vec<&str> = header.columns.iter().map(|(name, ..)| name.as_str()).collect();
        let types: Vec<&str> = header.columns.iter().map(|(_, ty, _)| ty.as_str()).collect();
        let id = (!header.query_id.is_empty()).then_some(&header.query_id);
        let plain = json!({"queryId": id, "columnNames": names, "columnTypes": types});
        match self {
            Format::Delimited => format!("{plain}\n"),
            Format::Array => format!("[{plain}"),
            Format::Tagged => {
                let columns = header
                    .columns
                    .iter()
                    .map(|(name, ty, key)| format!("`{name}` {ty}{}", if *key { " KEY" } else { "" }));
                let schema = columns.collect::<Vec<_>>().join(", ");
                format!("[{}", json!({"header": {"queryId": header.query_id, "schema": schema}}))
            }
        }
    }

    fn line(self, frame: &Frame) -> Option<String> {
        let object = match (self, frame) {
            (Format::Tagged, Frame::Row { columns, gone: false }) => json!({"row": {"columns": columns}}),
            (Format::Tagged, Frame::Row { columns, gone: true }) => {
                json!({"row": {"columns": columns, "tombstone": true}})
            }
            (_, Frame::Row { columns, .. }) => json!(columns),
            (Format::Tagged, Frame::Error(message)) => {
                json!({"errorMessage": {"@type": "generic_error", "error_code": 50000, "message": message}})
            }
            (_, Frame::Error(message)) => json!({"@type": "generic_error", "error_code": 50000, "message": message}),
            (Format::Tagged, Frame::Limit) => json!({"finalMessage": "Limit Reached"}),
            (_, Frame::Limit) => return None,
        };
        Some(match self {
            Format::Delimited => format!("{object}\n"),
            _ => format!(",\n{object}"),
        })
    }

    fn close(self) -> &'static str {
        match self {
            Format::Delimited => "",
            _ => "]\n",
        }
    }
}

/// Ends the query when its client leaves.
struct Registration(Option<(Arc<State>, String)>);

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some((state, id)) = &self.0 {
            state.close_push(id);
        }
    }
}

/// A response that writes the header at once and rows as they come.
pub fn body(
    format: Format,
    header: &Header,
    rows: mpsc::Receiver<Frame>,
    registration: Option<(Arc<State>, String)>,
) -> HttpResponse {
    let opened = format.open(header);
    let registration = Registration(registration);
    let stream = futures_util::stream::unfold((Some(opened), rows, registration, false), move |state| async move {
        let (opened, mut rows, registration, ended) = state;
        if ended {
            return None;
        }
        if let Some(opened) = opened {
            let chunk = Ok::<_, actix_web::Error>(Bytes::from(opened));
            return Some((chunk, (None, rows, registration, false)));
        }
        let Some(first) = rows.recv().await else {
            return Some((Ok(Bytes::from_static(format.close().as_bytes())), (None, rows, registration, true)));
        };
        let mut text = format.line(&first).unwrap_or_default();
        // What is there already goes in one chunk.
        while let Ok(next) = rows.try_recv() {
            text.push_str(&format.line(&next).unwrap_or_default());
        }
        Some((Ok(Bytes::from(text)), (None, rows, registration, false)))
    });
    HttpResponse::Ok().content_type(format.media()).streaming(stream)
}

/// A push query on a stream: reads the topic by itself.
pub struct Follow {
    /// The stream's topic.
    pub topic: String,
    /// What is shown.
    pub shown: Shown,
    /// From the oldest record instead of the newest.
    pub beginning: bool,
    /// Rows at most.
    pub limit: Option<u64>,
}

impl Follow {
    /// Sends rows until the client leaves. Blocks.
    pub fn run(self, state: &State, rows: &mpsc::Sender<Frame>, stop: &Shutdown) {
        if let Err(message) = self.follow(state, rows, stop) {
            let _gone = rows.blocking_send(Frame::Error(message));
        }
    }

    fn follow(&self, state: &State, rows: &mpsc::Sender<Frame>, stop: &Shutdown) -> Result<(), String> {
        let consumer: BaseConsumer = state.kafka.reader_config().create().map_err(|error| error.to_string())?;
        let count = state.kafka.partition_count_blocking(&self.topic).map_err(|error| error.to_string())?;
        let count = count.ok_or_else(|| format!("topic {} does not exist yet", self.topic))?;
        let mut list = TopicPartitionList::new();
        let offset = if self.beginning { Offset::Beginning } else { Offset::End };
        for partition in 0..count {
            list.add_partition_offset(&self.topic, partition, offset).map_err(|error| error.to_string())?;
        }
        consumer.assign(&list).map_err(|error| error.to_string())?;
        let mut decoder = Decoder::new(state.registry.clone());
        let mut left = self.limit.unwrap_or(u64::MAX);
        while !rows.is_closed() && !stop.is_triggered() {
            let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
            let record = Incoming {
                topic: message.topic(),
                partition: message.partition(),
                offset: message.offset(),
                key: message.key(),
                value: message.payload(),
                ..Incoming::default()
            };
            let row = match decoder.decode(&record) {
                Ok(Decoded::Flat(row)) => Some(row),
                Ok(Decoded::Change(change)) => change.after,
                Ok(Decoded::Tombstone) | Err(DecodeError::Bad(_)) => None,
                Err(DecodeError::Away(error)) => return Err(error.to_string()),
            };
            let Some(columns) = row.and_then(|row| self.shown.row(&row)) else { continue };
            if rows.blocking_send(Frame::Row { columns, gone: false }).is_err() {
                return Ok(());
            }
            left -= 1;
            if left == 0 {
                let _gone = rows.blocking_send(Frame::Limit);
                return Ok(());
            }
        }
        Ok(())
    }
}
