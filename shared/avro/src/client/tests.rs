use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::Type;

/// Answers each request with the next of `answers` (status, body), the last one again and again; counts them.
async fn stand_in(answers: Vec<(u16, &'static str)>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut buffer = vec![0; 65_536];
            let _ = socket.read(&mut buffer).await.unwrap();
            let n = seen.fetch_add(1, Ordering::SeqCst);
            let (status, body) = answers[n.min(answers.len() - 1)];
            let text =
                format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            socket.write_all(text.as_bytes()).await.unwrap();
        }
    });
    (url, count)
}

#[tokio::test]
async fn an_id_is_asked_for_once_by_many() {
    let (url, count) = stand_in(vec![(200, r#"{"schema":"\"long\""}"#)]).await;
    let client = RegistryClient::at(&url);
    let calls = (0..8).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { client.schema(3).await.unwrap() })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap().canonical(), "\"long\"");
    }
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_registry_without_leader_is_asked_again() {
    let busy = (503, r#"{"error_code":50004,"message":"no leader"}"#);
    let (url, count) = stand_in(vec![busy, busy, (200, r#"{"id":7}"#)]).await;
    let client = RegistryClient::at(&url);
    let schema = Schema::new(Type::long()).unwrap();
    assert_eq!(client.register("t-value", &schema).await.unwrap(), 7);
    assert_eq!(client.register("t-value", &schema).await.unwrap(), 7);
    assert_eq!(count.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_refusal_is_final_and_not_cached() {
    let (url, count) = stand_in(vec![(404, r#"{"error_code":40403,"message":"Schema 9 not found"}"#)]).await;
    let client = RegistryClient::at(&url);
    for expected in 1..=2 {
        let error = client.schema(9).await.unwrap_err();
        assert!(!error.is_transient());
        assert_eq!(error.code(), Some(40403));
        assert!(error.to_string().contains("Schema 9 not found"), "{error}");
        assert_eq!(count.load(Ordering::SeqCst), expected);
    }
}
