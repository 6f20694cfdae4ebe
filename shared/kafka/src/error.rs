//! Errors of Kafka in the classes that decide what happens next.

use rdkafka::error::{KafkaError as Cause, RDKafkaErrorCode as Code};

/// What went wrong, by what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// Comes back by itself: broker away, leader moved, coordinator loading. Retry with back-off.
    #[error("Kafka is not available for {action}: {cause}")]
    Transient {
        /// What was tried, for example `the commit of transaction x`.
        action: String,
        /// librdkafka's words.
        cause: Cause,
    },
    /// Another holder of the transactional id took over: stop, and let it work.
    #[error("another instance took over: {action} was fenced")]
    Fenced {
        /// What was tried.
        action: String,
    },
    /// Will not go away by itself: wrong credentials, missing permission, a wrong property.
    #[error("Kafka refused {action}: {cause}")]
    Fatal {
        /// What was tried.
        action: String,
        /// librdkafka's words.
        cause: Cause,
    },
}

impl KafkaError {
    /// Puts librdkafka's error into its class.
    pub fn new(action: impl Into<String>, cause: Cause) -> KafkaError {
        let action = action.into();
        match cause.rdkafka_error_code() {
            Some(
                Code::Fenced
                | Code::InvalidProducerEpoch
                | Code::ProducerFenced
                | Code::TransactionalIdAuthorizationFailed,
            ) if !matches!(cause.rdkafka_error_code(), Some(Code::TransactionalIdAuthorizationFailed)) => {
                KafkaError::Fenced { action }
            }
            Some(
                Code::TopicAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::TransactionalIdAuthorizationFailed
                | Code::SaslAuthenticationFailed
                | Code::InvalidConfig
                | Code::InvalidTopic
                | Code::MessageSizeTooLarge
                | Code::PolicyViolation
                | Code::InvalidReplicationFactor
                | Code::InvalidPartitions,
            ) => KafkaError::Fatal { action, cause },
            None if matches!(cause, Cause::ClientConfig(..) | Cause::ClientCreation(_) | Cause::Nul(_)) => {
                KafkaError::Fatal { action, cause }
            }
            _ => KafkaError::Transient { action, cause },
        }
    }

    /// Whether a retry can help.
    pub fn is_transient(&self) -> bool {
        matches!(self, KafkaError::Transient { .. })
    }

    /// Whether somebody else holds the transactional id now.
    pub fn is_fenced(&self) -> bool {
        matches!(self, KafkaError::Fenced { .. })
    }
}
