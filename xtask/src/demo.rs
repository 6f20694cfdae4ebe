//! What `up` waits for before the demo's statements; the demo itself is `ratestream_testkit::demo`.

use anyhow::{Result, bail};
use ratestream_testkit::{demo::RATES_SUBJECT, install, probe};
use std::time::{Duration, Instant};

pub(crate) const CONNECT: &str = "http://127.0.0.1:8083";
pub(crate) const KSQL: &str = "http://127.0.0.1:8088";
const SCHEMA_LIMIT: Duration = Duration::from_secs(180);

/// The first statement reads the schema of the captured table: it is there once capture has sent a row.
pub(crate) async fn wait_for_rates() -> Result<()> {
    let url = format!("http://127.0.0.1:8081/subjects/{RATES_SUBJECT}/versions/latest");
    let end = Instant::now() + SCHEMA_LIMIT;
    while !probe::http(&url).await {
        if Instant::now() > end {
            let url = format!("{CONNECT}/connectors/rating-system-connector/status");
            let status = install::http_client()?.get(url).send().await?.text().await.unwrap_or_default();
            bail!(
                "no captured rating after {} s: subject {RATES_SUBJECT} is missing. The connector says: {status}",
                SCHEMA_LIMIT.as_secs()
            );
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
