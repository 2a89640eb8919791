//! Makes the faults happen in their time; `verdict` says what came of it.

mod verdict;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::client::{Live, Sent, Told, Traffic, client, first_requests};
use super::disk::{Disk, FULL};
use super::folder::Folder;
use super::gateway::{Gateway, NotRunning, Start};
use super::report::Report;
use super::schedule::{Fault, Step};
use super::seen::{Seen, Ticks};
use super::target::{Target, Weather};
use super::{BrokeOff, Drill, collect, watch};

/// How much longer than planned a fault stays that nobody has felt yet.
const EXTENSION: Duration = Duration::from_secs(10);
/// How long service may take to resume once the disk has space again.
const RESUMPTION: Duration = Duration::from_secs(30);
/// How long the spools may take to empty once the faults are over.
const EMPTYING: Duration = Duration::from_secs(60);
/// How long a start or an end may take, the drain apart.
const PATIENCE: Duration = Duration::from_secs(30);
/// The average record on disk, log and database together, in bytes; generous.
const ON_DISK: u64 = 16 << 10;

/// Runs a drill to its report.
pub async fn conduct(drill: Drill, say: &(dyn Fn(&str) + Sync)) -> Result<Report, BrokeOff> {
    let folder = Folder::make(drill.settings.seed, drill.settings.keep)?;
    let settings = &drill.settings;
    let ticks = Arc::new(Ticks::default());
    let target = Target::start(settings.seed, ticks.clone()).await?;
    let fills = drill.faults.contains(&Fault::DiskFull);
    let expected = settings.length.as_secs() * u64::from(settings.rate) * ON_DISK;
    let disk = Disk::prepare(folder.path.join("disk"), expected, fills)?;
    let gateway = Gateway::new(Start {
        program: settings.program.clone(),
        files: settings.files.clone(),
        endpoint: target.url(),
        store: disk.store(),
        logs: folder.path.clone(),
        patience: PATIENCE,
    });
    let pause = f64::from(settings.clients) / f64::from(settings.rate.max(1));
    let traffic = Arc::new(Traffic {
        seed: settings.seed,
        routes: drill.routes.clone(),
        asked: drill.asked.clone(),
        headers: settings.headers.clone(),
        pause: Duration::from_secs_f64(pause),
        ticks: ticks.clone(),
        live: Live::default(),
    });
    let mut conductor = Conductor {
        drill: &drill,
        gateway,
        target,
        disk,
        traffic,
        say,
        began: Instant::now(),
        felt: BTreeMap::new(),
        planned: BTreeMap::new(),
        possible_duplicates: None,
        failures: Vec::new(),
        notes: Vec::new(),
    };
    conductor.gateway.serve(None).await?;
    let mut sent = conductor.knock().await?;
    sent.extend(conductor.play().await);
    sent.sort_by_key(|one| one.id);
    conductor.wind_up().await;
    let seen = conductor.look(&ticks).await?;
    let store = conductor.disk.store();
    let report = conductor.report(&sent, seen);
    Ok(folder.finish(report, &store)?)
}

struct Conductor<'d> {
    drill: &'d Drill,
    gateway: Gateway,
    target: Target,
    disk: Disk,
    traffic: Arc<Traffic>,
    say: &'d (dyn Fn(&str) + Sync),
    began: Instant,
    felt: BTreeMap<Fault, u64>,
    planned: BTreeMap<Fault, u64>,
    possible_duplicates: Option<u64>,
    failures: Vec<String>,
    notes: Vec<String>,
}

impl Conductor<'_> {
    /// A first request to each route. Where all want credentials that were not given, nothing could be tried.
    async fn knock(&self) -> Result<Vec<Sent>, BrokeOff> {
        let Some(address) = *self.gateway.address().borrow() else {
            return Ok(Vec::new());
        };
        let mut sent = first_requests(self.drill.settings.clients, &self.traffic, address).await;
        sent.sort_by_key(|one| one.route);
        let refusals: Option<Vec<String>> = sent
            .iter()
            .map(|one| match &one.told {
                Told::Refused {
                    status: status @ (401 | 403),
                    code,
                } => Some(match self.drill.routes.get(one.route) {
                    Some(route) => format!("{}: {status} {code}", route.name),
                    None => format!("{status} {code}"),
                }),
                _ => None,
            })
            .collect();
        match refusals {
            Some(refusals) if !refusals.is_empty() => Err(BrokeOff::Unauthorized {
                refusals: refusals.join(", "),
                given: !self.drill.settings.headers.is_empty(),
            }),
            _ => Ok(sent),
        }
    }

    /// Lets the clients send while the faults happen; what was sent.
    async fn play(&mut self) -> Vec<Sent> {
        let settings = &self.drill.settings;
        let stop = CancellationToken::new();
        let mut clients = JoinSet::new();
        for number in 0..settings.clients {
            let address = self.gateway.address();
            clients.spawn(client(number, self.traffic.clone(), address, stop.clone()));
        }
        self.began = Instant::now();
        for step in &self.drill.steps {
            sleep_until(self.began + Duration::from_millis(step.at)).await;
            self.tell(&step.to_string());
            *self.planned.entry(step.fault).or_default() += 1;
            let performed = match self.revive().await {
                Ok(()) => self.perform(step).await,
                Err(error) => Err(error),
            };
            if let Err(error) = performed {
                self.failures.push(format!("at {}: {error}", step.fault));
                break;
            }
        }
        sleep_until(self.began + settings.length).await;
        stop.cancel();
        let mut sent: Vec<Sent> = Vec::new();
        while let Some(finished) = clients.join_next().await {
            match finished {
                Ok(records) => sent.extend(records),
                Err(error) => self.failures.push(format!("a client broke off: {error}")),
            }
        }
        sent
    }

    async fn perform(&mut self, step: &Step) -> Result<(), NotRunning> {
        match step.fault {
            Fault::Kill => self.kill().await,
            Fault::Reload => self.reload().await,
            Fault::DiskFull => self.fill_disk(Duration::from_millis(step.lasts)).await,
            _ => self.trouble_target(step).await,
        }
    }

    async fn trouble_target(&mut self, step: &Step) -> Result<(), NotRunning> {
        let fault = step.fault;
        let ends = Instant::now() + Duration::from_millis(step.lasts);
        let refuses = fault == Fault::Down && !step.reset;
        let before = self.felt_by_target(fault, refuses);
        self.target.set(Weather {
            fault: Some(fault),
            reset: step.reset,
        });
        let killed = match step.kill_after {
            Some(after) => {
                sleep(Duration::from_millis(after)).await;
                *self.planned.entry(Fault::Kill).or_default() += 1;
                self.kill().await
            }
            None => Ok(()),
        };
        sleep_until(ends).await;
        let in_vain = fault == Fault::Partial && self.target.counts().batches == 0;
        if killed.is_ok() && !in_vain {
            until(EXTENSION, || self.felt_by_target(fault, refuses) > before).await;
        }
        self.target.set(Weather::default());
        let felt = self.felt_by_target(fault, refuses) - before;
        *self.felt.entry(fault).or_default() += felt;
        killed
    }

    /// A refused connection leaves no trace at the target: there, the requests count that would have led to one.
    fn felt_by_target(&self, fault: Fault, refuses: bool) -> u64 {
        if refuses {
            load(&self.traffic.live.to_target)
        } else {
            self.target.fired(fault)
        }
    }

    async fn kill(&mut self) -> Result<(), NotRunning> {
        self.scrape().await;
        let busy = self.in_flight().await;
        self.gateway.kill().await?;
        *self.felt.entry(Fault::Kill).or_default() += u64::from(busy);
        self.gateway.serve(None).await
    }

    async fn reload(&mut self) -> Result<(), NotRunning> {
        self.scrape().await;
        let busy = self.in_flight().await;
        self.stop().await?;
        *self.felt.entry(Fault::Reload).or_default() += u64::from(busy);
        self.gateway.serve(None).await
    }

    async fn fill_disk(&mut self, lasts: Duration) -> Result<(), NotRunning> {
        let ends = Instant::now() + lasts;
        let before = load(&self.traffic.live.store_refusals);
        match &self.disk {
            Disk::Mounted { folder, .. } => blocking(folder, Disk::fill).await?,
            Disk::Limited { .. } => {
                self.stop().await?;
                self.gateway.serve(Some(FULL)).await?;
            }
        }
        let needed = self.drill.routes.iter().any(|route| route.needs_store);
        if !needed {
            // Records are spooled only while the target does not take them.
            self.target.set(Weather {
                fault: Some(Fault::Down),
                reset: true,
            });
        }
        let live = &self.traffic.live;
        sleep_until(ends).await;
        until(EXTENSION, || load(&live.store_refusals) > before).await;
        let felt = load(&live.store_refusals) - before;
        self.target.set(Weather::default());
        match &self.disk {
            Disk::Mounted { folder, .. } => blocking(folder, Disk::empty).await?,
            Disk::Limited { .. } => {
                self.stop().await?;
                self.gateway.serve(None).await?;
            }
        }
        *self.felt.entry(Fault::DiskFull).or_default() += felt;
        let acks = &self.traffic.live.store_acks;
        let before = load(acks);
        if needed && !until(RESUMPTION, || load(acks) > before).await {
            self.failures.push(format!(
                "service did not resume within {} s after the disk had space again",
                RESUMPTION.as_secs()
            ));
        }
        Ok(())
    }

    /// Waits until a request is in flight; false if none comes.
    async fn in_flight(&self) -> bool {
        let in_flight = &self.traffic.live.in_flight;
        until(Duration::from_secs(5), || {
            in_flight.load(Ordering::SeqCst) > 0
        })
        .await
    }

    /// SIGTERM, and a look at how it ended.
    async fn stop(&mut self) -> Result<(), NotRunning> {
        let within = self.drill.drain + PATIENCE;
        match self.gateway.stop(within).await? {
            Some(status) if status.success() => {}
            Some(status) if status.code() == Some(4) => {
                let note = "a gateway cut off requests at its drain deadline";
                self.notes.push(note.to_owned());
            }
            Some(status) => self.failures.push(format!(
                "the gateway ended badly when it was told to stop ({status}): {}",
                self.gateway.last_words()
            )),
            None => self
                .failures
                .push("the gateway did not stop when it was told to".to_owned()),
        }
        Ok(())
    }

    /// A gateway that has ended by itself is a failure, and is started again.
    async fn revive(&mut self) -> Result<(), NotRunning> {
        let Some(status) = self.gateway.exited()? else {
            return Ok(());
        };
        self.failures.push(format!(
            "the gateway ended by itself ({status}): {}",
            self.gateway.last_words()
        ));
        self.gateway.serve(None).await
    }

    /// What the gateway counts as possible duplicates, before it forgets.
    async fn scrape(&mut self) {
        let Some(admin) = self.gateway.admin() else {
            return;
        };
        match watch::possible_duplicates(admin).await {
            Ok(Some(counted)) => *self.possible_duplicates.get_or_insert(0) += counted,
            Ok(None) => {}
            Err(error) => self
                .notes
                .push(format!("metrics could not be read: {error}")),
        }
    }

    /// The faults are over: waits for the spools to empty, and stops the gateway.
    async fn wind_up(&mut self) {
        self.target.set(Weather::default());
        self.tell("the faults are over; the spools empty");
        if let Err(error) = self.revive().await {
            self.failures.push(format!("at the end: {error}"));
        }
        if let Some(admin) = self.gateway.admin() {
            let deadline = Instant::now() + EMPTYING;
            loop {
                match watch::spooled(admin).await {
                    Ok(0) => break,
                    Ok(left) if Instant::now() > deadline => {
                        self.failures.push(format!(
                            "{left} records are still spooled {} s after the last fault",
                            EMPTYING.as_secs()
                        ));
                        break;
                    }
                    Err(error) if Instant::now() > deadline => {
                        self.failures
                            .push(format!("the queues could not be read: {error}"));
                        break;
                    }
                    Ok(_) | Err(_) => sleep(Duration::from_millis(50)).await,
                }
            }
            self.scrape().await;
            if let Err(error) = self.stop().await {
                self.failures.push(format!("at the end: {error}"));
            }
        }
    }

    /// All that is found, at the target and in the store.
    async fn look(&self, ticks: &Ticks) -> Result<Seen, BrokeOff> {
        let mut seen = self.target.settled(Duration::from_secs(5)).await;
        let (store, seed) = (self.disk.store(), self.drill.settings.seed);
        let looking = collect::collect(&store, seed, ticks, &mut seen);
        looking.await.map_err(BrokeOff::Store)?;
        Ok(seen)
    }

    fn tell(&self, what: &str) {
        (self.say)(what);
    }
}

/// Looks every millisecond until it is so; false if it is not in time.
async fn until(at_most: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let wait = async {
        while !condition() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(at_most, wait).await.is_ok()
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::SeqCst)
}

async fn blocking(folder: &Path, work: fn(&Path) -> std::io::Result<()>) -> std::io::Result<()> {
    let folder = folder.to_owned();
    tokio::task::spawn_blocking(move || work(&folder))
        .await
        .map_err(std::io::Error::other)?
}
