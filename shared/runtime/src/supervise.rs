//! Our supervisor over actix. actix's own keeps the same value and does not survive panics, so this one owns factories: a child
//! that panicked, stopped or hangs is replaced by a new generation, after a jittered back-off and within a restart budget.
//!
//! Each child lives in an arbiter (thread) of its own: it may call blocking clients, and its hang stops nobody else.

use crate::backoff::Backoff;
use crate::progress::Progress;
use crate::shutdown::Shutdown;
use actix::{Actor, Addr, Arbiter, ArbiterHandle, AsyncContext, Context};
use serde::Serialize;
use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How often the guardian of a child looks at it.
const HEARTBEAT: Duration = Duration::from_millis(100);
/// Busy without a tick for so long is a hang.
const HANG: Duration = Duration::from_secs(30);
/// A child that lived so long was healthy: its next failure starts the back-off anew.
const HEALTHY: Duration = Duration::from_secs(60);
/// More restarts than this within [`HEALTHY`] and the process gives up: whoever runs it decides.
const RESTARTS_MAX: usize = 10;
/// How long a stopped child may drain.
const DRAIN: Duration = Duration::from_secs(8);

/// What one generation of a child gets from its supervisor.
#[derive(Clone, Debug)]
pub struct ChildContext {
    /// Name as `GET /admin/actors` shows it.
    pub name: String,
    /// 1 for the first.
    pub generation: u64,
    /// To be ticked.
    pub progress: Progress,
    /// Asks this child to drain and stop itself.
    pub shutdown: Shutdown,
}

/// Condition of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ChildState {
    /// Its current generation works.
    Running,
    /// It failed and comes back after a wait.
    Restarting,
    /// It was stopped on purpose.
    Stopped,
}

/// One line of `GET /admin/actors`.
#[derive(Clone, Debug, Serialize)]
pub struct ChildReport {
    /// Its name.
    pub name: String,
    /// Its condition.
    pub state: ChildState,
    /// Number of the current generation.
    pub generation: u64,
    /// What it says that it does.
    pub doing: String,
    /// How often work went on in this generation.
    pub ticks: u64,
    /// Milliseconds since work last went on.
    pub silence_ms: u64,
    /// Whether it has work in hand.
    pub busy: bool,
    /// Why the generation before ended.
    pub last_failure: Option<String>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    stop: Shutdown,
    generation: AtomicU64,
    status: Mutex<Status>,
    stopped: Shutdown,
}

#[derive(Debug)]
struct Status {
    state: ChildState,
    progress: Progress,
    last_failure: Option<String>,
}

impl Shared {
    fn with_status<T>(&self, f: impl FnOnce(&mut Status) -> T) -> T {
        f(&mut self.status.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn report(&self) -> ChildReport {
        self.with_status(|status| ChildReport {
            name: self.name.clone(),
            state: status.state,
            generation: self.generation.load(Relaxed),
            doing: status.progress.state_text(),
            ticks: status.progress.ticks(),
            silence_ms: status.progress.silence().as_millis() as u64,
            busy: status.progress.is_busy(),
            last_failure: status.last_failure.clone(),
        })
    }
}

/// A supervised child. Cheap to clone; dropping it does not stop the child.
#[derive(Debug)]
pub struct Child<A: Actor<Context = Context<A>>> {
    shared: Arc<Shared>,
    addr: Arc<Mutex<Option<Addr<A>>>>,
}

impl<A: Actor<Context = Context<A>>> Clone for Child<A> {
    fn clone(&self) -> Self {
        Child { shared: self.shared.clone(), addr: self.addr.clone() }
    }
}

impl<A: Actor<Context = Context<A>>> Child<A> {
    /// Address of the living generation; none between two generations.
    pub fn addr(&self) -> Option<Addr<A>> {
        self.addr.lock().ok()?.clone().filter(Addr::connected)
    }

    /// Asks the child to drain and waits until it is gone, at most 8 s.
    pub async fn stop(&self) {
        self.shared.stop.trigger();
        self.shared.stopped.triggered().await;
    }

    /// Its line in `GET /admin/actors`.
    pub fn report(&self) -> ChildReport {
        self.shared.report()
    }
}

/// Owner of all children of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Supervisor {
    home: ArbiterHandle,
    shutdown: Shutdown,
    children: Arc<Mutex<Vec<Arc<Shared>>>>,
    exhausted: Shutdown,
}

impl Supervisor {
    /// A supervisor whose children stop with `shutdown`. Must be called inside the actix system.
    pub fn new(shutdown: Shutdown) -> Supervisor {
        let home = actix::System::current().arbiter().clone();
        Supervisor { home, shutdown, children: Arc::default(), exhausted: Shutdown::new() }
    }

    /// Starts an actor from `factory`, and again whenever it fails.
    pub fn spawn<A>(&self, name: &str, factory: impl Fn(ChildContext) -> A + Send + Sync + 'static) -> Child<A>
    where
        A: Actor<Context = Context<A>> + 'static,
    {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            stop: self.shutdown.child(),
            generation: AtomicU64::new(0),
            status: Mutex::new(Status {
                state: ChildState::Running,
                progress: Progress::default(),
                last_failure: None,
            }),
            stopped: Shutdown::new(),
        });
        if let Ok(mut children) = self.children.lock() {
            children.push(shared.clone());
        }
        let child = Child { shared, addr: Arc::default() };
        // On the system's own arbiter: a guardian must outlive whichever child asked for it.
        let spawned = self.home.spawn(guard(self.clone(), child.clone(), Arc::new(factory)));
        debug_assert!(spawned, "the actix system has ended");
        child
    }

    /// Starts an actor that only runs one future, which may block its thread.
    pub fn spawn_loop<F>(&self, name: &str, body: impl Fn(ChildContext) -> F + Send + Sync + 'static) -> Child<Loop>
    where
        F: Future<Output = ()> + 'static,
    {
        let body = Arc::new(body);
        self.spawn(name, move |context| {
            let body = body.clone();
            Loop { start: Some(Box::new(move || Box::pin(body(context)))) }
        })
    }

    /// All children.
    pub fn report(&self) -> Vec<ChildReport> {
        self.children.lock().map(|all| all.iter().map(|child| child.report()).collect()).unwrap_or_default()
    }

    /// Returns when a child used up its restart budget.
    pub async fn exhausted(&self) {
        self.exhausted.triggered().await;
    }

    /// Returns when every child has stopped; call after the shutdown signal.
    pub async fn drained(&self) {
        let children = self.children.lock().map(|all| all.clone()).unwrap_or_default();
        for child in children {
            child.stopped.triggered().await;
        }
    }

    fn forget(&self, shared: &Arc<Shared>) {
        if let Ok(mut children) = self.children.lock() {
            children.retain(|child| !Arc::ptr_eq(child, shared));
        }
    }
}

type BoxedLoop = Box<dyn FnOnce() -> std::pin::Pin<Box<dyn Future<Output = ()>>>>;

/// An actor whose whole life is one future.
pub struct Loop {
    start: Option<BoxedLoop>,
}

impl Actor for Loop {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        use actix::{ActorContext, ActorFutureExt, WrapFuture};
        if let Some(start) = self.start.take() {
            let done = start().into_actor(self).map(|(), _, context: &mut Context<Self>| context.stop());
            context.spawn(done);
        }
    }
}

/// Decides when a child may start again. Plain and synchronous.
struct Budget {
    backoff: Backoff,
    recent: VecDeque<Instant>,
}

impl Budget {
    fn new() -> Budget {
        Budget { backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(5)), recent: VecDeque::new() }
    }

    /// The wait before the next generation; none when the budget is used up.
    fn failed(&mut self, lived: Duration, now: Instant) -> Option<Duration> {
        if lived >= HEALTHY {
            self.backoff.reset();
        }
        self.recent.retain(|at| now.duration_since(*at) < HEALTHY);
        self.recent.push_back(now);
        (self.recent.len() <= RESTARTS_MAX).then(|| self.backoff.next())
    }
}

async fn guard<A, F>(supervisor: Supervisor, child: Child<A>, factory: Arc<F>)
where
    A: Actor<Context = Context<A>> + 'static,
    F: Fn(ChildContext) -> A + Send + Sync + 'static,
{
    let mut budget = Budget::new();
    while !child.shared.stop.is_triggered() {
        let born = Instant::now();
        let failure = one_generation(&child, factory.clone()).await;
        let Some(failure) = failure else { break };
        let wait = budget.failed(born.elapsed(), Instant::now());
        tracing::error!(
            actor = child.shared.name,
            failure,
            restart_in_ms = wait.map(|w| w.as_millis() as u64),
            "actor failed"
        );
        child.shared.with_status(|status| {
            status.state = ChildState::Restarting;
            status.last_failure = Some(failure);
        });
        match wait {
            None => {
                supervisor.exhausted.trigger();
                break;
            }
            Some(wait) => {
                child.shared.stop.sleep(wait).await;
            }
        }
    }
    child.shared.with_status(|status| status.state = ChildState::Stopped);
    supervisor.forget(&child.shared);
    child.shared.stopped.trigger();
}

/// Runs one generation to its end; `Some(why)` when the end was not asked for.
async fn one_generation<A, F>(child: &Child<A>, factory: Arc<F>) -> Option<String>
where
    A: Actor<Context = Context<A>> + 'static,
    F: Fn(ChildContext) -> A + Send + Sync + 'static,
{
    let generation = child.shared.generation.fetch_add(1, Relaxed) + 1;
    let progress = Progress::default();
    let stop = child.shared.stop.child();
    let context = ChildContext {
        name: child.shared.name.clone(),
        generation,
        progress: progress.clone(),
        shutdown: stop.clone(),
    };
    child.shared.with_status(|status| {
        status.state = ChildState::Running;
        status.progress = progress.clone();
    });
    let arbiter = Arbiter::new();
    let addr = A::start_in_arbiter(&arbiter.handle(), move |_| factory(context));
    if let Ok(mut slot) = child.addr.lock() {
        *slot = Some(addr.clone());
    }
    let end = watch(&child.shared.stop, &progress, &addr).await;
    // The old generation, should it still run, is told to stop; it holds no claim that its successor's fencing does not end.
    stop.trigger();
    arbiter.stop();
    end
}

async fn watch<A: Actor<Context = Context<A>>>(stop: &Shutdown, progress: &Progress, addr: &Addr<A>) -> Option<String> {
    let mut draining_since = None;
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        if !addr.connected() {
            return (!stop.is_triggered()).then(|| "it panicked or stopped by itself".to_owned());
        }
        if stop.is_triggered() {
            let since: &mut Instant = draining_since.get_or_insert_with(Instant::now);
            if since.elapsed() > DRAIN {
                tracing::warn!("an actor did not drain in time and is abandoned");
                return None;
            }
        } else if progress.is_busy() && progress.silence() > hang_limit() {
            return Some(format!(
                "it hangs: busy with {:?} without progress for {:?}",
                progress.state_text(),
                hang_limit()
            ));
        }
    }
}

/// The limit of silence; tests shorten it.
fn hang_limit() -> Duration {
    if cfg!(test) { Duration::from_millis(300) } else { HANG }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix::{Handler, Message, MessageResult};

    #[derive(Message)]
    #[rtype(result = "u64")]
    enum Ask {
        Generation,
        Panic,
        Hang,
    }

    struct Fragile(ChildContext);
    impl Actor for Fragile {
        type Context = Context<Self>;
        fn started(&mut self, context: &mut Self::Context) {
            use actix::{ActorContext, ActorFutureExt, WrapFuture};
            let stop = self.0.shutdown.clone();
            context.spawn(async move { stop.triggered().await }.into_actor(self).map(|(), _, context| context.stop()));
        }
    }
    impl Handler<Ask> for Fragile {
        type Result = MessageResult<Ask>;
        fn handle(&mut self, ask: Ask, _: &mut Self::Context) -> Self::Result {
            let _busy = self.0.progress.busy();
            match ask {
                Ask::Generation => {}
                // Unlike panic!, without the hook that prints a backtrace, which takes as long as a hang here.
                Ask::Panic => std::panic::resume_unwind(Box::new("asked to")),
                Ask::Hang => std::thread::sleep(Duration::from_secs(2)),
            }
            MessageResult(self.0.generation)
        }
    }

    async fn generation(child: &Child<Fragile>, at_least: u64) -> u64 {
        for _ in 0..200 {
            if let Some(addr) = child.addr()
                && let Ok(generation) = addr.send(Ask::Generation).await
                && generation >= at_least
            {
                return generation;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("generation {at_least} did not come")
    }

    #[actix::test]
    async fn a_panic_in_a_handler_brings_a_new_generation() {
        let supervisor = Supervisor::new(Shutdown::new());
        let child = supervisor.spawn("fragile", Fragile);
        assert_eq!(generation(&child, 1).await, 1);
        assert!(child.addr().unwrap().send(Ask::Panic).await.is_err());
        assert_eq!(generation(&child, 2).await, 2);
        assert!(supervisor.report()[0].last_failure.as_deref().unwrap().contains("panicked"));
    }

    #[actix::test]
    async fn a_hang_brings_a_new_generation_and_neighbours_go_on() {
        let supervisor = Supervisor::new(Shutdown::new());
        let (child, neighbour) = (supervisor.spawn("fragile", Fragile), supervisor.spawn("neighbour", Fragile));
        generation(&child, 1).await;
        let addr = child.addr().unwrap();
        let hanging = actix::spawn(async move { addr.send(Ask::Hang).await });
        assert_eq!(generation(&neighbour, 1).await, 1);
        assert_eq!(generation(&child, 2).await, 2);
        assert!(supervisor.report()[0].last_failure.as_deref().unwrap().contains("hangs"));
        hanging.abort();
    }

    #[actix::test]
    async fn a_stop_is_not_a_failure() {
        let supervisor = Supervisor::new(Shutdown::new());
        let child = supervisor.spawn("fragile", Fragile);
        generation(&child, 1).await;
        child.stop().await;
        assert!(supervisor.report().is_empty() && child.addr().is_none());
        assert_eq!(child.report().state, ChildState::Stopped);
    }

    #[test]
    fn the_budget_ends() {
        let (mut budget, now) = (Budget::new(), Instant::now());
        assert!((0..RESTARTS_MAX).all(|_| budget.failed(Duration::ZERO, now).is_some()));
        assert!(budget.failed(Duration::ZERO, now).is_none());
        assert!(budget.failed(Duration::ZERO, now + HEALTHY).is_some());
    }
}
