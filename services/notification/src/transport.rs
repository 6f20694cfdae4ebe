//! Connections to the SMTP server, kept open between mails. lettre's own transport leaves small writes to be held back by TCP until
//! the server has acknowledged the mail's text, which costs 40 ms a mail, and does not tell a refused login from a refused mail.

use crate::config::{Smtp, Tls};
use lettre::Message;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// A connection that rested longer is asked whether it still lives; servers close idle ones after minutes.
const RESTED: Duration = Duration::from_secs(20);

/// What a try came to.
#[derive(Debug)]
pub(crate) enum Tried {
    /// The server's reply.
    Sent(String),
    /// The server refuses this mail for good, with this reply.
    Refused(String),
    /// The server or the way to it has trouble, the login included: the mail may go later.
    Again(String),
}

/// The transport of all mails. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Transport(Arc<Inner>);

struct Inner {
    address: (String, u16),
    tls: Tls,
    parameters: Option<TlsParameters>,
    login: Option<Credentials>,
    hello: ClientId,
    timeout: Duration,
    idle: Mutex<Vec<(AsyncSmtpConnection, Instant)>>,
}

impl Transport {
    /// Prepares it; nothing is connected yet. An error is a sentence.
    pub(crate) fn new(smtp: &Smtp) -> Result<Transport, String> {
        let parameters =
            || TlsParameters::new(smtp.host.clone()).map_err(|error| format!("smtp.host {}: {error}", smtp.host));
        let password = || smtp.password.as_ref().map(|password| password.expose().to_owned()).unwrap_or_default();
        Ok(Transport(Arc::new(Inner {
            address: (smtp.host.clone(), smtp.port),
            tls: smtp.tls,
            parameters: if smtp.tls == Tls::None { None } else { Some(parameters()?) },
            login: smtp.username.as_ref().map(|user| Credentials::new(user.clone(), password())),
            hello: ClientId::default(),
            timeout: Duration::from_secs(smtp.timeout_seconds.max(1)),
            idle: Mutex::default(),
        })))
    }

    /// Whether the server lets us in; else why not.
    pub(crate) async fn test(&self) -> Result<(), String> {
        let connection = self.within(self.connection()).await?;
        self.keep(connection);
        Ok(())
    }

    /// Hands one mail over.
    pub(crate) async fn send(&self, mail: &Message) -> Tried {
        let mut connection = match self.within(self.connection()).await {
            Ok(connection) => connection,
            Err(cause) => return Tried::Again(cause),
        };
        let bytes = mail.formatted();
        let sent = tokio::time::timeout(self.0.timeout, connection.send(mail.envelope(), &bytes)).await;
        match sent {
            Ok(Ok(response)) => {
                self.keep(connection);
                Tried::Sent(format!("{} {}", response.code(), response.message().collect::<Vec<_>>().join(" ")))
            }
            // After an error the connection is closed by both sides.
            Ok(Err(error)) if error.is_permanent() => Tried::Refused(sentence(&error)),
            Ok(Err(error)) => Tried::Again(sentence(&error)),
            Err(_) => Tried::Again(self.slow()),
        }
    }

    async fn within(
        &self,
        open: impl Future<Output = Result<AsyncSmtpConnection, String>>,
    ) -> Result<AsyncSmtpConnection, String> {
        tokio::time::timeout(self.0.timeout, open).await.unwrap_or_else(|_| Err(self.slow()))
    }

    fn slow(&self) -> String {
        format!("the SMTP server {}:{} did not answer within {:?}", self.0.address.0, self.0.address.1, self.0.timeout)
    }

    fn idle(&self) -> Option<(AsyncSmtpConnection, Instant)> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// As many are kept as were in use at once, which the mailer bounds.
    fn keep(&self, connection: AsyncSmtpConnection) {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).push((connection, Instant::now()));
    }

    async fn connection(&self) -> Result<AsyncSmtpConnection, String> {
        while let Some((mut connection, since)) = self.idle() {
            if since.elapsed() < RESTED || connection.test_connected().await {
                return Ok(connection);
            }
        }
        self.connect().await.map_err(|error| match error {
            ConnectError::Network(error) => {
                format!("the SMTP server {}:{} cannot be reached: {error}", self.0.address.0, self.0.address.1)
            }
            ConnectError::Smtp(error) => sentence(&error),
        })
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, ConnectError> {
        let inner = &self.0;
        let mut connection = if inner.tls == Tls::Implicit {
            let parameters = inner.parameters.clone();
            AsyncSmtpConnection::connect_tokio1(
                inner.address.clone(),
                Some(inner.timeout),
                &inner.hello,
                parameters,
                None,
            )
            .await?
        } else {
            let stream = TcpStream::connect(&inner.address).await.map_err(ConnectError::Network)?;
            stream.set_nodelay(true).map_err(ConnectError::Network)?;
            AsyncSmtpConnection::connect_with_transport(Box::new(stream), &inner.hello).await?
        };
        if let (Tls::Starttls, Some(parameters)) = (inner.tls, &inner.parameters) {
            connection.starttls(parameters.clone(), &inner.hello).await?;
        }
        if let Some(login) = &inner.login {
            connection.auth(DEFAULT_MECHANISMS, login).await?;
        }
        Ok(connection)
    }
}

enum ConnectError {
    Network(std::io::Error),
    Smtp(Error),
}

impl From<Error> for ConnectError {
    fn from(error: Error) -> Self {
        ConnectError::Smtp(error)
    }
}

/// An SMTP error with its cause, where it does not tell it itself.
fn sentence(error: &Error) -> String {
    let text = error.to_string();
    match std::error::Error::source(error).map(ToString::to_string) {
        Some(cause) if !text.contains(&cause) => format!("{text}: {cause}"),
        _ => text,
    }
}
