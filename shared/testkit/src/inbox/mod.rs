//! A mail server that keeps what it gets: an SMTP port, a JSON interface and a small page.
//!
//! Plain SMTP, and STARTTLS when certificate files are given. Messages are held in memory, the newest
//! [`MAX_MESSAGES`] of them.

mod api;
mod mime;
mod smtp;
mod store;

pub use store::{Fault, MAX_MESSAGES, Message};

use crate::free_port;
use crate::ports::check_free;
use anyhow::{Context, Result};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use store::Store;

/// How to start an inbox.
#[derive(Clone, Debug, Default)]
pub struct InboxOptions {
    /// SMTP port on 127.0.0.1; none = a free one.
    pub smtp_port: Option<u16>,
    /// Port of page and JSON interface; none = a free one.
    pub page_port: Option<u16>,
    /// Files with certificate chain and key in PEM form: STARTTLS is offered.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// A running inbox. Dropped, its page closes and its SMTP port answers 421 until the program ends.
#[derive(Debug)]
pub struct Inbox {
    store: Arc<Store>,
    smtp_port: u16,
    page_port: u16,
    page: api::Page,
}

impl Inbox {
    /// Starts one on free ports.
    pub async fn start() -> Result<Self> {
        Self::start_with(InboxOptions::default()).await
    }

    /// Starts one as told.
    pub async fn start_with(options: InboxOptions) -> Result<Self> {
        let smtp_port = port(options.smtp_port, "the mail inbox")?;
        let page_port = port(options.page_port, "the inbox page")?;
        let store = Arc::new(Store::default());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, smtp_port))
            .with_context(|| format!("cannot listen on port {smtp_port}"))?;
        smtp::serve(listener, store.clone(), options.certificate)?;
        let page = api::Page::serve(page_port, store.clone()).await?;
        Ok(Self { store, smtp_port, page_port, page })
    }

    /// SMTP port on 127.0.0.1.
    pub fn smtp_port(&self) -> u16 {
        self.smtp_port
    }

    /// `http://127.0.0.1:<port>` of page and JSON interface.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.page_port)
    }

    /// What it holds, oldest first.
    pub fn messages(&self) -> Vec<Arc<Message>> {
        self.store.messages()
    }

    /// Forgets all messages; ids go on.
    pub fn clear(&self) {
        self.store.clear();
    }

    /// Makes the next deliveries fail or lag.
    pub fn fault(&self, fault: Fault) {
        self.store.set_fault(fault);
    }

    /// Waits until `enough` says yes to the messages held; false after `limit`.
    pub async fn wait_until(&self, limit: Duration, enough: impl Fn(&[Arc<Message>]) -> bool) -> bool {
        self.store.wait_until(limit, enough).await
    }

    /// Ends when the page's server ends; used by the detached inbox of `cargo x up`.
    pub async fn run(self) {
        self.page.ended().await;
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.store.close();
        self.page.stop();
    }
}

fn port(wanted: Option<u16>, what: &str) -> Result<u16> {
    match wanted {
        Some(port) => check_free(what, port).map(|()| port),
        None => free_port(),
    }
}
