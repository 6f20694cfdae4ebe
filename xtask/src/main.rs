//! `cargo x`: runs the whole pipeline on this machine, tests it and checks the code.

// a command-line tool talks on its standard output
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod build;
mod check;
mod demo;
mod docker;
mod down;
mod feed;
mod home;
mod parts;
mod progress;
mod status;
mod test;
mod tidy;
mod up;

use anyhow::Result;
use clap::{Parser, Subcommand};
use ratestream_testkit::{Inbox, InboxOptions};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo x", about = "Runs, tests and checks ratestream on this machine")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts the servers and services, registers the demo's connectors and SQL, and feeds live ratings
    Up(up::Options),
    /// Stops everything that `up` started
    Down {
        /// Also removes all data
        #[arg(long)]
        wipe: bool,
    },
    /// Shows what runs
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Runs the unit and integration tests against real servers
    Test(test::Options),
    /// Format, lints, documentation, dependencies, tidiness
    Check,
    /// Builds the services into target/release
    Build,
    /// The mail inbox as a process of its own
    #[command(hide = true)]
    Inbox { smtp: u16, page: u16 },
    /// The live feed as a process of its own
    #[command(hide = true)]
    Feed { ratings: String, customers: String, rate: f64 },
}

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start the async runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run(Arguments::parse().command));
    runtime.shutdown_background(); // a download that goes on must not hold the prompt back
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", progress::sentence(&error));
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Up(options) => Box::pin(up::run(options)).await,
        Command::Down { wipe } => down::run(wipe),
        Command::Status { json } => status::run(json).await,
        Command::Test(options) => Box::pin(test::run(options)).await,
        Command::Check => check::run(),
        Command::Build => build::services(&parts::Service::ALL).await,
        Command::Inbox { smtp, page } => {
            let options = InboxOptions { smtp_port: Some(smtp), page_port: Some(page), certificate: None };
            Inbox::start_with(options).await?.run().await;
            Ok(())
        }
        Command::Feed { ratings, customers, rate } => feed::run(&ratings, &customers, rate).await,
    }
}
