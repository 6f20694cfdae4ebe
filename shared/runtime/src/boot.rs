//! From `main` to a running service and back.

use crate::admin::{self, Admin};
use crate::config::{self, Settings, Sources};
use crate::health::Health;
use crate::shutdown::Shutdown;
use crate::supervise::Supervisor;
use crate::telemetry;
use actix_web::{App, HttpServer, web};
use clap::{CommandFactory, FromArgMatches, Parser};
use serde::de::DeserializeOwned;
use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Wrong configuration or a start that cannot succeed.
const EXIT_CONFIG: u8 = 64;
/// A child failed too often.
const EXIT_EXHAUSTED: u8 = 70;
/// From the signal to the end of the process.
const STOP: Duration = Duration::from_secs(10);

/// Routes of a service, added to each HTTP worker.
pub type Routes = Arc<dyn Fn(&mut web::ServiceConfig) + Send + Sync>;

/// What a service is made from.
#[derive(Clone)]
pub struct Context<C> {
    /// Common sections.
    pub settings: Arc<Settings>,
    /// The service's own sections.
    pub config: C,
    /// Its dependencies.
    pub health: Health,
    /// Owner of its actors.
    pub supervisor: Supervisor,
    /// Fires when the process shall stop.
    pub shutdown: Shutdown,
}

/// A start that cannot succeed: a sentence that says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

/// One service of the suite.
pub trait Service: Sized + 'static {
    /// Name of binary, folder and metrics label.
    const NAME: &'static str;
    /// Default port; the default address is loopback.
    const PORT: u16;
    /// The service's own sections of the configuration.
    type Config: DeserializeOwned + Default + Clone + Send + 'static;

    /// Starts the actors. Does not wait for Kafka and the like: they come up in the background, seen through `health`.
    fn start(context: Context<Self::Config>) -> impl Future<Output = Result<Self, StartError>>;

    /// The service's own API.
    fn routes(&self) -> Routes;

    /// Whether `GET /health` belongs to the service's compatible API (Kafka Connect has one).
    fn owns_health_route() -> bool {
        false
    }

    /// Ends what the supervisor's children do not end by themselves.
    fn stop(self) -> impl Future<Output = ()>;
}

#[derive(Parser)]
#[command(version, about = "A service of the ratestream suite.", disable_help_subcommand = true)]
struct Arguments {
    /// What to do
    #[arg(value_enum, default_value_t = Command::Run)]
    command: Command,
    /// Configuration file (default: ratestream.toml when it is there)
    #[arg(long)]
    config: Option<PathBuf>,
    /// Overrides one value: section.key=value
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Command {
    /// Run the service
    Run,
    /// Ask a running service whether it is ready; exit code 0 when it is
    Health,
    /// Check the configuration
    Validate,
    /// Print the effective configuration, secrets masked, with each value's origin
    PrintConfig,
}

/// The whole `main` of a service.
pub fn run<S: Service>() -> ExitCode {
    let matches = Arguments::command().name(S::NAME).get_matches();
    let arguments = match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let sources = Sources {
        file: arguments.config.clone(),
        environment: std::env::vars().collect(),
        overrides: arguments.overrides.clone(),
    };
    let (settings, own) = match config::load::<S::Config>(S::NAME, S::PORT, &sources) {
        Ok(loaded) => loaded,
        Err(error) => return refuse(S::NAME, &error.to_string()),
    };
    match arguments.command {
        Command::Run => serve::<S>(settings, own),
        Command::Health => ask_health(&settings),
        Command::Validate => ExitCode::SUCCESS,
        Command::PrintConfig => print_config(&settings),
    }
}

#[expect(clippy::print_stderr, reason = "logging is not installed yet, or the reader is a person at a terminal")]
fn refuse(service: &str, message: &str) -> ExitCode {
    eprintln!("{service}: {message}");
    ExitCode::from(EXIT_CONFIG)
}

#[expect(clippy::print_stdout, reason = "the output of this subcommand")]
fn print_config(settings: &Settings) -> ExitCode {
    for (key, value) in &settings.origins {
        println!("{key} = {:?}   # {}", value.value, value.origin);
    }
    ExitCode::SUCCESS
}

/// The probe of containers: a plain HTTP request, no shell and no curl needed.
fn ask_health(settings: &Settings) -> ExitCode {
    use std::io::{Read, Write};
    let mut address = settings.http.bind;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let ask = || -> std::io::Result<bool> {
        let mut stream = std::net::TcpStream::connect_timeout(&address, Duration::from_secs(3))?;
        stream.set_read_timeout(Some(Duration::from_secs(3)))?;
        stream.write_all(b"GET /health/ready HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status.ends_with(b"200"))
    };
    match ask() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => refuse(settings.service, "not ready; GET /health/ready says why"),
        Err(error) => refuse(settings.service, &format!("nobody answers on {address}: {error}")),
    }
}

fn serve<S: Service>(settings: Settings, own: S::Config) -> ExitCode {
    if let Err(message) = telemetry::install(&settings.log) {
        return refuse(S::NAME, &message);
    }
    if !settings.http.bind.ip().is_loopback() && settings.admin.token.is_none() {
        let message = format!(
            "http.bind is {}, which others can reach, and there is no admin token: set RATESTREAM__ADMIN__TOKEN_FILE (or admin.token), \
             or bind to 127.0.0.1",
            settings.http.bind
        );
        return refuse(S::NAME, &message);
    }
    // Fails only when a provider is installed already, which is as good.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let outcome = actix::System::new().block_on(live::<S>(settings, own));
    match outcome {
        Ok(code) => code,
        Err(error) => refuse(S::NAME, &error.0),
    }
}

async fn live<S: Service>(settings: Settings, own: S::Config) -> Result<ExitCode, StartError> {
    let started = Instant::now();
    let shutdown = Shutdown::new();
    let supervisor = Supervisor::new(shutdown.clone());
    let health = Health::default();
    let settings = Arc::new(settings);
    let context = Context {
        settings: settings.clone(),
        config: own,
        health: health.clone(),
        supervisor: supervisor.clone(),
        shutdown: shutdown.clone(),
    };
    let listener = std::net::TcpListener::bind(settings.http.bind).map_err(|error| {
        StartError(format!(
            "{} cannot be listened on ({error}): choose another with RATESTREAM__HTTP__BIND",
            settings.http.bind
        ))
    })?;
    let service = S::start(context).await?;
    let admin = Admin { settings: settings.clone(), health, supervisor: supervisor.clone(), started };
    let server = listen::<S>(listener, &settings, service.routes(), admin)?;
    let handle = server.handle();
    let serving = actix::spawn(server);
    tracing::info!(service = S::NAME, address = %settings.http.bind, version = env!("CARGO_PKG_VERSION"), "service is up");

    let code = wait_for_end(&supervisor).await;
    let stop = async {
        shutdown.trigger();
        supervisor.drained().await;
        service.stop().await;
        handle.stop(true).await;
        serving.await
    };
    if tokio::time::timeout(STOP, stop).await.is_err() {
        tracing::warn!(
            service = S::NAME,
            "stop took longer than {STOP:?}; what was in flight is read again at the next start"
        );
    }
    tracing::info!(service = S::NAME, "service stopped");
    Ok(code)
}

fn listen<S: Service>(
    listener: std::net::TcpListener,
    settings: &Settings,
    routes: Routes,
    admin: Admin,
) -> Result<actix_web::dev::Server, StartError> {
    let body_bytes_max = settings.http.body_bytes_max;
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::PayloadConfig::new(body_bytes_max))
            .app_data(web::JsonConfig::default().limit(body_bytes_max))
            .configure(|config| {
                admin::routes(config, &admin);
                if !S::owns_health_route() {
                    admin::health_route(config);
                }
                routes(config);
            })
    })
    .workers(2)
    .disable_signals()
    .shutdown_timeout(1)
    .listen(listener)
    .map_err(|error| StartError(format!("HTTP cannot be served: {error}")))?;
    Ok(server.run())
}

/// Waits for SIGTERM, SIGINT or a used-up restart budget. A second signal ends the process at once.
async fn wait_for_end(supervisor: &Supervisor) -> ExitCode {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        supervisor.exhausted().await;
        return ExitCode::from(EXIT_EXHAUSTED);
    };
    let code = tokio::select! {
        _ = term.recv() => ExitCode::SUCCESS,
        _ = int.recv() => ExitCode::SUCCESS,
        () = supervisor.exhausted() => {
            tracing::error!("an actor failed too often: the process ends so that whoever runs it can act");
            ExitCode::from(EXIT_EXHAUSTED)
        }
    };
    actix::spawn(async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        std::process::exit(130);
    });
    code
}
