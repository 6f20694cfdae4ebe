//! The sink: points in one write; a refused write is divided until the refused points are alone.

use crate::influx::{Influx, WriteError};
use crate::line::Point;
use crate::point::Rules;
use ratestream_connect::{ConnectorConfig, TaskError};
use ratestream_pipeline::{Reject, Sink, SinkRecord, Written};

/// One bucket as the target of one connector.
pub(crate) struct InfluxTarget {
    rules: Rules,
    client: Influx,
}

impl InfluxTarget {
    pub(crate) fn new(config: &ConnectorConfig) -> Result<InfluxTarget, TaskError> {
        let rules = Rules::new(config).map_err(|(key, message)| TaskError::Config {
            code: "CON001",
            cause: format!("{message}."),
            fix: format!("Change '{key}' with PUT /connectors/<name>/config."),
        })?;
        Ok(InfluxTarget { rules, client: Influx::new(config)? })
    }

    /// Writes points, whose first has index `first` in the batch. InfluxDB names a refused point only in words, and stores the
    /// others of its write; writing a point again is harmless, so halves are tried until the refused ones stand alone.
    async fn divide(
        &self,
        points: &[&Point],
        first: usize,
        rejected: &mut Vec<(usize, String)>,
    ) -> Result<(), WriteError> {
        let mut lines = String::with_capacity(points.len() * 80);
        points.iter().for_each(|point| point.append(&mut lines));
        match self.client.write(&lines).await {
            Err(WriteError::Refused(reason)) if points.len() == 1 => {
                rejected.push((first, reason));
                Ok(())
            }
            Err(WriteError::Refused(_)) => {
                let (left, right) = points.split_at(points.len() / 2);
                Box::pin(self.divide(left, first, rejected)).await?;
                Box::pin(self.divide(right, first + left.len(), rejected)).await
            }
            other => other,
        }
    }
}

#[async_trait::async_trait(?Send)]
impl Sink for InfluxTarget {
    type Item = Point;

    fn plan(&self, record: &SinkRecord) -> Result<Option<Point>, Reject> {
        self.rules.point(record)
    }

    async fn write(&self, points: &[&Point]) -> Written {
        let mut rejected = Vec::new();
        match self.divide(points, 0, &mut rejected).await {
            Ok(()) if rejected.is_empty() => Written::Durable,
            Ok(()) => Written::Partial { rejected, retry: Vec::new(), cause: String::new() },
            // What was refused so far is refused again when the batch comes back.
            Err(WriteError::Again(cause) | WriteError::Refused(cause)) => Written::Retry(cause),
            Err(WriteError::Denied(error)) => Written::Failed(error),
        }
    }

    async fn check(&self) -> Result<(), TaskError> {
        // An empty write checks address, token and bucket at once; InfluxDB answers it with 204 or "nothing to write" (400).
        match self.client.write("").await {
            Ok(()) | Err(WriteError::Refused(_)) => Ok(()),
            Err(WriteError::Again(cause)) => Err(TaskError::Transient { cause }),
            Err(WriteError::Denied(error)) => Err(error),
        }
    }
}
