//! Servers as processes of their own, and what the kernel knows of them: CPU time, memory, descriptors.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use super::Outcome;

/// A server; dropped, it is killed.
pub struct Server {
    pub name: String,
    child: Child,
    pub address: SocketAddr,
    /// Where a gateway tells about itself.
    pub admin: Option<SocketAddr>,
    /// Where a gateway's embedded queues answer the SQS protocol.
    pub sqs: Option<SocketAddr>,
}

impl Server {
    /// This program again, as one of the baselines or the fake endpoint (`--role`). It prints its address.
    pub fn role(name: &str, arguments: &[&str], core: Option<usize>) -> Outcome<Server> {
        let program = std::env::current_exe()?;
        let mut child = pinned(&program, core)
            .args(arguments)
            .envs(CREDENTIALS)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().ok_or("no output")?);
        said.read_line(&mut line)?;
        // Read on, so that it never waits for a full pipe.
        std::thread::spawn(move || said.lines().for_each(drop));
        let address = line.trim().strip_prefix("listening on http://");
        Ok(Server {
            name: name.to_owned(),
            address: address.unwrap_or(line.trim()).parse().map_err(|_| {
                format!(
                    "{name} has ended before it said its address: {:?}",
                    line.trim()
                )
            })?,
            child,
            admin: None,
            sqs: None,
        })
    }

    /// Any program that prints `listening on http://ADDRESS`, such as a peer.
    pub fn program(name: &str, command: &mut Command) -> Outcome<Server> {
        let mut child = command.envs(CREDENTIALS).stderr(Stdio::piped()).spawn()?;
        let addresses = addresses(child.stderr.take().ok_or("no output")?)?;
        Ok(Server {
            name: name.to_owned(),
            child,
            address: addresses.public,
            admin: addresses.admin,
            sqs: addresses.sqs,
        })
    }

    /// A program that says nothing: it is there once it can be connected to.
    pub fn silent(name: &str, command: &mut Command, address: SocketAddr) -> Outcome<Server> {
        let child = command
            .envs(CREDENTIALS)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut server = Server {
            name: name.to_owned(),
            child,
            address,
            admin: None,
            sqs: None,
        };
        let began = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            if server.child.try_wait()?.is_some() || began.elapsed() > Duration::from_secs(30) {
                return Err(format!("{name} does not listen on {address}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// The gateway with this file.
    pub fn gateway(name: &str, file: &Path, core: Option<usize>) -> Outcome<Server> {
        let mut command = pinned(Path::new(env!("CARGO_BIN_EXE_penstock")), core);
        command.arg("serve").arg(file);
        if let Some(folder) = file.parent() {
            command.current_dir(folder);
        }
        Server::program(name, &mut command)
    }

    /// User and system time of all its threads. Threads that have ended are not in it.
    pub fn cpu(&self) -> Outcome<Duration> {
        cpu_of(self.child.id())
    }

    pub fn resident_kib(&self) -> Outcome<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok());
        Ok(resident.ok_or("no VmRSS")?)
    }

    pub fn descriptors(&self) -> Outcome<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }

    /// Without a chance to say goodbye.
    pub fn kill(&mut self) -> Outcome<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits for its end.
    pub fn terminate(&mut self, patience: Duration) -> Outcome<()> {
        let id = i32::try_from(self.child.id())?;
        let pid = rustix::process::Pid::from_raw(id).ok_or("no process")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let began = Instant::now();
        while self.child.try_wait()?.is_none() {
            if began.elapsed() > patience {
                return Err(format!("{} does not end", self.name).into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// For every SDK: credentials that nobody has to be asked for.
const CREDENTIALS: [(&str, &str); 4] = [
    ("AWS_ACCESS_KEY_ID", "AKIDBENCH"),
    ("AWS_SECRET_ACCESS_KEY", "bench"),
    ("AWS_REGION", "eu-west-1"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
];

/// User and system time of all threads of a process.
pub fn cpu_of(process: u32) -> Outcome<Duration> {
    let mut nanos = 0u64;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread may end between the two calls.
        let stat = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        nanos += stat.split(' ').next().unwrap_or("0").parse().unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanos))
}

/// A command that runs on this core alone, where `taskset` is installed.
pub fn pinned(program: &Path, core: Option<usize>) -> Command {
    match core {
        Some(core) if can_pin() => {
            let mut command = Command::new("taskset");
            command.arg("-c").arg(core.to_string()).arg(program);
            command
        }
        _ => Command::new(program),
    }
}

/// Whether a process can be kept on one core: two at least, and `taskset`.
pub fn can_pin() -> bool {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let known = Command::new("taskset")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    cores >= 2 && known.is_ok_and(|status| status.success())
}

/// Keeps all threads of this process on one core.
pub fn pin_self(core: usize) -> Outcome<()> {
    let status = Command::new("taskset")
        .args(["-acp", &core.to_string(), &std::process::id().to_string()])
        .stdout(Stdio::null())
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err("taskset has failed".into())
    }
}

/// Raises the limit of open files to what this needs, here and in the servers that are started from here. The limit
/// that is in force afterwards.
pub fn allow_descriptors(wanted: u64) -> Outcome<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    if now.current.is_some_and(|current| current < wanted) {
        let maximum = now.maximum.map(|maximum| maximum.max(wanted));
        let raised = Rlimit {
            current: Some(wanted),
            maximum,
        };
        if setrlimit(Resource::Nofile, raised).is_err() {
            // Not ours to raise: as far as it goes.
            let most = Rlimit {
                current: now.maximum,
                maximum: now.maximum,
            };
            setrlimit(Resource::Nofile, most)?;
        }
    }
    Ok(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
}

struct Addresses {
    public: SocketAddr,
    admin: Option<SocketAddr>,
    sqs: Option<SocketAddr>,
}

/// What a server prints of itself, up to the empty line that ends the gateway's banner (a peer says one address).
fn addresses(stderr: ChildStderr) -> Outcome<Addresses> {
    let mut lines = BufReader::new(stderr).lines();
    let (mut public, mut admin, mut sqs) = (None, None, None);
    let mut said = String::new();
    while public.is_none() || admin.is_none() {
        let Some(line) = lines.next() else {
            break;
        };
        let line = line?;
        let after = |what: &str| -> Option<SocketAddr> {
            let rest = line.strip_prefix(what)?.trim_start_matches("http");
            let rest = rest.trim_start_matches(['s', ':', '/']);
            rest.split(' ').next()?.parse().ok()
        };
        public = public.or(after("listening on "));
        admin = admin.or(after("admin on "));
        if line == "ready" {
            break;
        }
        said += &line;
        said.push('\n');
    }
    // The line after the admin's, where there is one.
    if let Some(Ok(line)) = admin.and_then(|_| lines.next())
        && let Some(rest) = line.strip_prefix("sqs on http://")
    {
        sqs = rest.parse().ok();
    }
    std::thread::spawn(move || lines.for_each(drop));
    Ok(Addresses {
        public: public.ok_or_else(|| format!("the server has ended:\n{said}"))?,
        admin,
        sqs,
    })
}
