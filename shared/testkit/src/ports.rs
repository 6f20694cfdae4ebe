//! TCP ports on the loopback address.

use anyhow::{Context, Result, bail};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

/// A port on 127.0.0.1 on which nobody listens.
///
/// Taken from below the range that Linux hands to outgoing connections, and never twice in one process, so that a server
/// that starts a second later still finds it free.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let seed = std::process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(FIRST + seed.wrapping_add(step) % COUNT).context("port range")?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free TCP port between {FIRST} and {} on 127.0.0.1", FIRST + COUNT)
}

/// Refuses with a sentence when somebody already listens on `port`; `what` names the server that wants it.
pub fn check_free(what: &str, port: u16) -> Result<()> {
    let address = (Ipv4Addr::LOCALHOST, port).into();
    if TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_ok() {
        bail!(
            "port {port} is occupied: {what} cannot start because another program listens there. \
             Stop that program (`ss -ltnp 'sport = :{port}'` names it), or leave this part out with `--without`"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_can_be_bound() {
        let first = free_port().unwrap();
        let second = free_port().unwrap();
        assert_ne!(first, second);
        TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
    }

    #[test]
    fn an_occupied_port_is_named() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = check_free("Kafka", port).unwrap_err().to_string();
        assert!(error.contains(&port.to_string()) && error.contains("Kafka"), "{error}");
    }
}
