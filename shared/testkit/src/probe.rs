//! Questions that tell whether a server really answers.

use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LIMIT: Duration = Duration::from_secs(5);

/// Whether something accepts connections on 127.0.0.1:`port`.
pub async fn tcp(port: u16) -> bool {
    matches!(tokio::time::timeout(LIMIT, TcpStream::connect(("127.0.0.1", port))).await, Ok(Ok(_)))
}

/// Whether a GET of `url` is answered with a status below 300.
pub async fn http(url: &str) -> bool {
    let client = crate::install::http_client();
    let Ok(client) = client else { return false };
    matches!(client.get(url).timeout(LIMIT).send().await, Ok(answer) if answer.status().is_success())
}

/// Whether a Kafka broker answers a metadata request and knows at least one live broker (itself).
pub async fn kafka(port: u16) -> bool {
    tokio::time::timeout(LIMIT, kafka_brokers(port)).await.ok().flatten().is_some_and(|brokers| brokers > 0)
}

/// Asks for metadata of no topic, version 4 (the oldest that every broker of the last years takes).
async fn kafka_brokers(port: u16) -> Option<i32> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let mut request = Vec::new();
    request.extend_from_slice(&3_i16.to_be_bytes()); // Metadata
    request.extend_from_slice(&4_i16.to_be_bytes()); // version
    request.extend_from_slice(&1_i32.to_be_bytes()); // correlation id
    request.extend_from_slice(&(-1_i16).to_be_bytes()); // no client id
    request.extend_from_slice(&0_i32.to_be_bytes()); // no topics
    request.push(0); // create none
    stream.write_i32(i32::try_from(request.len()).ok()?).await.ok()?;
    stream.write_all(&request).await.ok()?;
    let _length = stream.read_i32().await.ok()?;
    let _correlation = stream.read_i32().await.ok()?;
    let _throttle = stream.read_i32().await.ok()?;
    stream.read_i32().await.ok()
}

/// Whether a Cassandra node answers the OPTIONS request of the native protocol with SUPPORTED.
pub async fn cassandra(port: u16) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        stream.write_all(&[4, 0, 0, 0, 5, 0, 0, 0, 0]).await.ok()?;
        let mut header = [0_u8; 9];
        stream.read_exact(&mut header).await.ok()?;
        Some(header[4] == 6)
    };
    tokio::time::timeout(LIMIT, ask).await.ok().flatten().unwrap_or(false)
}
