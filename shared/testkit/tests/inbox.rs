//! The inbox, spoken to by a real mail client.

use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use ratestream_testkit::{Fault, Inbox, InboxOptions, install};
use std::time::Duration;

fn mail(subject: &str) -> anyhow::Result<Message> {
    let from: Mailbox = "Ratings <ratings@example.com>".parse()?;
    let to: Mailbox = "support@example.com".parse()?;
    let body = MultiPart::alternative_plain_html("größer\n.dot".to_owned(), "<b>größer</b>".to_owned());
    Ok(Message::builder().from(from).to(to).subject(subject).multipart(body)?)
}

fn client(inbox: &Inbox) -> AsyncSmtpTransport<Tokio1Executor> {
    AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1").port(inbox.smtp_port()).build()
}

#[tokio::test]
async fn a_mail_arrives_decoded_and_is_found_by_the_interface() {
    let inbox = Inbox::start().await.unwrap();
    let client = client(&inbox);
    client.send(mail("Prüfung").unwrap()).await.unwrap();
    client.send(mail("second").unwrap()).await.unwrap();
    assert!(inbox.wait_until(Duration::from_secs(10), |held| held.len() == 2).await);
    let first = &inbox.messages()[0];
    assert_eq!((first.subject.as_str(), first.from.as_str()), ("Prüfung", "ratings@example.com"));
    assert_eq!(first.to, ["support@example.com"]);
    assert_eq!(first.text.as_deref().map(str::trim_end), Some("größer\n.dot"));
    assert_eq!(first.html.as_deref().map(str::trim_end), Some("<b>größer</b>"));

    let http = install::http_client().unwrap();
    let get = async |path: &str| http.get(format!("{}{path}", inbox.url())).send().await.unwrap();
    let found: serde_json::Value = get("/api/email?to=support&subject=second&since=1").await.json().await.unwrap();
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!(found[0]["id"], 2);
    assert!(get("/api/email/1/source").await.text().await.unwrap().contains("Content-Type: multipart/alternative"));
    assert_eq!(get("/api/email/77").await.status(), 404);
    assert!(get("/").await.text().await.unwrap().contains("Prüfung"));
    http.delete(format!("{}/api/email/all", inbox.url())).send().await.unwrap();
    assert!(inbox.messages().is_empty());
}

#[tokio::test]
async fn ordered_faults_meet_the_next_deliveries_only() {
    let inbox = Inbox::start().await.unwrap();
    let client = client(&inbox);
    inbox.fault(Fault { times: 1, code: Some(451), message: "later".into(), delay_ms: 0 });
    assert!(client.send(mail("refused").unwrap()).await.unwrap_err().is_transient());
    inbox.fault(Fault { times: 1, code: Some(550), ..Fault::default() });
    assert!(client.send(mail("refused").unwrap()).await.unwrap_err().is_permanent());
    client.send(mail("taken").unwrap()).await.unwrap();
    assert_eq!(inbox.messages().iter().map(|message| message.subject.clone()).collect::<Vec<_>>(), ["taken"]);
}

/// The certificate is made for the occasion by `openssl`, which the build needs anyway.
#[tokio::test]
async fn starttls_is_offered_with_certificate_files() {
    let folder = std::env::temp_dir().join(format!("inbox-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    let mut openssl = std::process::Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]);
    openssl.args(["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"]);
    assert!(openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate).output().unwrap().status.success());
    let options = InboxOptions { certificate: Some((certificate.clone(), key)), ..InboxOptions::default() };
    let inbox = Inbox::start_with(options).await.unwrap();
    let root = lettre::transport::smtp::client::Certificate::from_pem(&std::fs::read(certificate).unwrap()).unwrap();
    let parameters = TlsParameters::builder("localhost".to_owned()).add_root_certificate(root).build().unwrap();
    let client = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1")
        .port(inbox.smtp_port())
        .tls(Tls::Required(parameters))
        .build();
    client.send(mail("over TLS").unwrap()).await.unwrap();
    assert_eq!(inbox.messages()[0].subject, "over TLS");
    std::fs::remove_dir_all(folder).unwrap();
}
