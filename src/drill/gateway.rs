//! The gateway of a drill: this very program as a child process, on a copy of the user's configuration that leads to
//! nothing of the user's. It is killed, told to stop, and started again on the same store.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// How often a child is looked at while something is expected of it.
const LOOK: Duration = Duration::from_millis(10);

/// How a gateway is started.
#[derive(Clone, Debug)]
pub struct Start {
    /// This program.
    pub program: PathBuf,
    /// The route files, as the user named them.
    pub files: Vec<PathBuf>,
    /// Where it finds AWS.
    pub endpoint: String,
    pub store: PathBuf,
    /// Where its log goes, one file a start.
    pub logs: PathBuf,
    /// How long a start may take, and how long an end.
    pub patience: Duration,
}

/// A gateway that is running, or is not.
pub struct Gateway {
    start: Start,
    child: Option<Child>,
    runs: u32,
    address: watch::Sender<Option<SocketAddr>>,
    admin: Option<SocketAddr>,
}

/// Why a gateway does not serve.
#[derive(Debug, thiserror::Error)]
pub enum NotRunning {
    #[error("the gateway cannot be started: {0}")]
    Spawn(#[from] io::Error),
    #[error("the gateway ended at its start ({status}); its log ends: {log}")]
    Ended { status: ExitStatus, log: String },
    #[error("the gateway did not serve within {} s; its log ends: {log}", within.as_secs())]
    Silent { within: Duration, log: String },
}

impl Gateway {
    /// Starts nothing yet.
    pub fn new(start: Start) -> Gateway {
        Gateway {
            start,
            child: None,
            runs: 0,
            address: watch::Sender::new(None),
            admin: None,
        }
    }

    /// Where it listens, while it does.
    pub fn address(&self) -> watch::Receiver<Option<SocketAddr>> {
        self.address.subscribe()
    }

    /// How often it was started.
    pub fn starts(&self) -> u32 {
        self.runs
    }

    /// Its admin listener, while there is one.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Starts it, and waits until it serves. `store_size`: the most that the store may take, in bytes.
    pub async fn serve(&mut self, store_size: Option<u64>) -> Result<(), NotRunning> {
        self.runs += 1;
        let log = self.log();
        let err = File::create(&log)?;
        let start = &self.start;
        let mut command = Command::new(&start.program);
        command.arg("serve").args(&start.files);
        let this = std::process::id().to_string();
        command.args(["--end-with-parent", &this, "--log-format", "text"]);
        command.args(["--override-bind", "127.0.0.1:0"]);
        command.args(["--override-admin", "127.0.0.1:0"]);
        command.args(["--override-access-log", "none"]);
        command.args(["--override-endpoint", &start.endpoint]);
        command.arg("--override-store").arg(&start.store);
        if let Some(bytes) = store_size {
            command.args(["--override-store-size", &bytes.to_string()]);
        }
        for (name, _) in std::env::vars_os() {
            if is_kept_from_the_child(&name.to_string_lossy()) {
                command.env_remove(name);
            }
        }
        command.envs([
            ("AWS_ACCESS_KEY_ID", "drill"),
            ("AWS_SECRET_ACCESS_KEY", "drill"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(err);
        self.child = Some(command.spawn()?);
        let deadline = Instant::now() + self.start.patience;
        loop {
            let printed = std::fs::read_to_string(&log)?;
            if let Some((public, admin)) = addresses(&printed) {
                self.admin = Some(admin);
                self.address.send_replace(Some(public));
                return Ok(());
            }
            if let Some(status) = self.exited()? {
                let log = self.last_words();
                return Err(NotRunning::Ended { status, log });
            }
            if Instant::now() > deadline {
                let within = self.start.patience;
                let log = self.last_words();
                return Err(NotRunning::Silent { within, log });
            }
            sleep(LOOK).await;
        }
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> io::Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else {
            return Ok(None);
        };
        let status = child.try_wait()?;
        if status.is_some() {
            self.gone();
        }
        Ok(status)
    }

    /// kill -9.
    pub async fn kill(&mut self) -> io::Result<()> {
        if let Some(child) = &mut self.child {
            child.kill()?;
        }
        self.ended(self.start.patience).await.map(|_| ())
    }

    /// SIGTERM, and how it ended; killed, and `None`, if it has not within that time.
    pub async fn stop(&mut self, within: Duration) -> io::Result<Option<ExitStatus>> {
        if let Some(child) = &self.child {
            kill_process(Pid::from_child(child), Signal::TERM)?;
        }
        let status = self.ended(within).await?;
        if status.is_none() {
            self.kill().await?;
        }
        Ok(status)
    }

    /// The last lines of its log.
    pub fn last_words(&self) -> String {
        let text = std::fs::read_to_string(self.log()).unwrap_or_else(|error| error.to_string());
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(8);
        lines.get(from..).unwrap_or_default().join(" | ")
    }

    async fn ended(&mut self, within: Duration) -> io::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + within;
        loop {
            if self.child.is_none() {
                return Ok(None);
            }
            if let Some(status) = self.exited()? {
                return Ok(Some(status));
            }
            if Instant::now() > deadline {
                return Ok(None);
            }
            sleep(LOOK).await;
        }
    }

    fn gone(&mut self) {
        self.child = None;
        self.admin = None;
        self.address.send_replace(None);
    }

    fn log(&self) -> PathBuf {
        self.start.logs.join(format!("gateway-{}.log", self.runs))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // A child that is gone already is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What is the user's: accounts, profiles, proxies, and settings of a gateway that is not this one.
fn is_kept_from_the_child(name: &str) -> bool {
    name.starts_with("AWS_")
        || name.starts_with("PENSTOCK_")
        || name.to_ascii_lowercase().ends_with("_proxy")
}

/// The first listener and the admin listener, once the banner has named both.
fn addresses(printed: &str) -> Option<(SocketAddr, SocketAddr)> {
    // The last line may be half written.
    let (whole, _) = printed.rsplit_once('\n')?;
    let after = |mark: &str| {
        whole.lines().find_map(|line| {
            let address = line.strip_prefix(mark)?.split(' ').next()?;
            address.parse().ok()
        })
    };
    Some((after("listening on http://")?, after("admin on http://")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_the_banner_once_it_is_whole() {
        let banner = "penstock 0.1.0: api a, stage $default\nlistening on http://127.0.0.1:4001 (public)\n\
                      listening on http://127.0.0.1:4002 (private)\nadmin on http://127.0.0.1:4003\nstore in x\n";
        let found = addresses(banner).unwrap();
        assert_eq!((found.0.port(), found.1.port()), (4001, 4003));
        assert_eq!(
            addresses("listening on http://127.0.0.1:4001 (public)\nadmin on http://127.0.0.1:40"),
            None
        );
    }

    #[test]
    fn accounts_and_proxies_are_kept_from_the_child() {
        for name in ["AWS_PROFILE", "PENSTOCK_LOG", "https_proxy", "ALL_PROXY"] {
            assert!(is_kept_from_the_child(name), "{name}");
        }
        assert!(!is_kept_from_the_child("PATH"));
    }
}
