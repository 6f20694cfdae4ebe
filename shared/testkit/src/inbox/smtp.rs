//! The SMTP side.

use super::store::Store;
use anyhow::{Context, Result, anyhow};
use mailin_embedded::{Action, Handler, Response, Server, SslConfig, response};
use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Sessions at the same time; more wait.
const SESSIONS: u32 = 16;
/// A larger message is refused.
const MAX_BYTES: usize = 16 * 1024 * 1024;

pub(super) fn serve(listener: TcpListener, store: Arc<Store>, certificate: Option<(PathBuf, PathBuf)>) -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default(); // an error means: is installed already
    let mut server = Server::new(Session { store, mail: Mail::default() });
    server.with_name("localhost").with_num_threads(SESSIONS).with_tcp_listener(listener);
    if let Some((cert_path, key_path)) = certificate {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let files = SslConfig::SelfSigned { cert_path: text(cert_path), key_path: text(key_path) };
        server.with_ssl(files).map_err(|error| anyhow!("the inbox's certificate files do not work: {error}"))?;
    }
    // this server has no way to end; its thread lives as long as the program
    let run = move || drop(server.serve());
    std::thread::Builder::new()
        .name("inbox-smtp".into())
        .spawn(run)
        .context("cannot start the inbox's thread")
        .map(drop)
}

#[derive(Clone, Default)]
struct Mail {
    from: String,
    to: Vec<String>,
    bytes: Vec<u8>,
}

#[derive(Clone)]
struct Session {
    store: Arc<Store>,
    mail: Mail,
}

impl Handler for Session {
    fn helo(&mut self, _ip: IpAddr, _domain: &str) -> Response {
        if self.store.is_closed() { response::NO_SERVICE } else { response::OK }
    }

    fn mail(&mut self, _ip: IpAddr, _domain: &str, from: &str) -> Response {
        if self.store.is_closed() {
            return response::NO_SERVICE;
        }
        self.mail = Mail { from: from.to_owned(), ..Mail::default() };
        response::OK
    }

    fn rcpt(&mut self, to: &str) -> Response {
        self.mail.to.push(to.to_owned());
        response::OK
    }

    fn data(&mut self, line: &[u8]) -> std::io::Result<()> {
        if self.mail.bytes.len() + line.len() > MAX_BYTES {
            return Err(std::io::Error::other("message too large"));
        }
        self.mail.bytes.extend_from_slice(line);
        Ok(())
    }

    fn data_end(&mut self) -> Response {
        let mail = std::mem::take(&mut self.mail);
        if let Some(fault) = self.store.next_fault() {
            std::thread::sleep(Duration::from_millis(fault.delay_ms)); // the fault asked for: a slow server
            if let Some(code) = fault.code {
                let text = if fault.message.is_empty() { "as ordered".to_owned() } else { fault.message };
                let mut refusal = Response::custom(code, text);
                refusal.action = Action::Close; // the library would take the next command for more data
                return refusal;
            }
        }
        let id = self.store.add(mail.from, mail.to, mail.bytes);
        Response::custom(250, format!("OK id={id}"))
    }
}
