//! The launchers, on the real servers.

use ratestream_testkit as testkit;
use sqlx::{Connection, Executor, PgConnection};
use testkit::{Kafka, Postgres, PostgresOptions, StartOptions, probe};

fn port(bootstrap: &str) -> u16 {
    bootstrap.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or_default()
}

#[tokio::test]
async fn kafka_comes_back_after_kill_9() {
    let mut kafka = Kafka::start(StartOptions::default()).await.unwrap();
    let (address, first) = (kafka.bootstrap(), kafka.process().unwrap());
    assert!(probe::kafka(port(&address)).await);
    kafka.kill();
    assert!(!first.is_alive());
    assert!(!probe::tcp(port(&address)).await);
    kafka.restart().await.unwrap();
    assert_eq!(kafka.bootstrap(), address);
    let second = kafka.process().unwrap();
    drop(kafka);
    assert!(!second.is_alive());
}

#[tokio::test]
async fn postgres_keeps_committed_rows_through_kill_9() {
    let databases = vec![("shop".to_owned(), "CREATE TABLE t (a int); INSERT INTO t VALUES (7)".to_owned())];
    let mut server = Postgres::start(PostgresOptions { databases, ..PostgresOptions::default() }).await.unwrap();
    let read = async |url: String| {
        let mut connection = PgConnection::connect(&url).await.unwrap();
        let rows: Vec<(i32,)> = sqlx::query_as("SELECT a FROM t ORDER BY a").fetch_all(&mut connection).await.unwrap();
        let level: (String,) =
            sqlx::query_as("SELECT current_setting('wal_level')").fetch_one(&mut connection).await.unwrap();
        connection.execute("INSERT INTO t SELECT max(a) + 1 FROM t").await.unwrap();
        (rows.into_iter().map(|row| row.0).collect::<Vec<_>>(), level.0)
    };
    assert_eq!(read(server.url("shop")).await, (vec![7], "logical".to_owned()));
    server.kill();
    server.restart().await.unwrap();
    assert_eq!(read(server.url("shop")).await.0, [7, 8]);
    assert!(!server.create_database("shop", "DROP TABLE t").await.unwrap());
    server.stop();
}

#[tokio::test]
async fn each_test_gets_a_database_of_its_own() {
    let first = testkit::postgres_database("mine").await.unwrap();
    let second = testkit::postgres_database("mine").await.unwrap();
    assert_ne!(first.name, second.name);
    PgConnection::connect(&first.url()).await.unwrap().execute("CREATE TABLE t (a int)").await.unwrap();
    PgConnection::connect(&second.url()).await.unwrap().execute("CREATE TABLE t (a int)").await.unwrap();
}
