//! The article's Java program: print every rating, tell support about the low ones.
//! `cargo run -p ratestream-streams --example low_rates -- localhost:9092`

use ratestream_kafka::Kafka;
use ratestream_runtime::{KafkaSettings, Shutdown, Supervisor};
use ratestream_streams::Streams;

#[derive(Debug, serde::Deserialize)]
struct Rate {
    customer_name: String,
    rate: i32,
}

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing::subscriber::set_global_default(tracing_subscriber::fmt().finish())?;
    let brokers = std::env::args().nth(1).unwrap_or_else(|| "localhost:9092".to_owned());
    let kafka = Kafka::new(&KafkaSettings { brokers, ..KafkaSettings::default() }, "low-rates");
    let mut streams = Streams::new("low-rates");
    streams
        .stream("rates", |bytes| serde_json::from_slice::<Rate>(bytes).ok())
        .peek(|_, rating| tracing::info!(?rating, "rating"))
        .filter(|_, rating| rating.rate < 3)
        .for_each(|_, rating| tracing::info!(customer = rating.customer_name, "support is told"));
    let supervisor = Supervisor::new(Shutdown::new());
    streams.start(&supervisor, &kafka, 1).await?;
    Ok(tokio::signal::ctrl_c().await?)
}
