//! A guard against regressions that a noisy machine cannot blur: instructions, as callgrind counts them, of the parts
//! of the hot path and of whole requests. Two runs of different length are subtracted, so that starting up is not in it.
//! Figures are held against `benches/results/instructions.json`; more than its tolerance over them is a failure.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::options::Options;
use crate::pieces;
use crate::support::Outcome;
use crate::support::gateway::{MOCK, QUEUE, SQS, Setup};
use crate::support::process::Server;
use crate::support::requests::{Prototype, keyed};

use super::door;
use super::sqs::fake_aws;

/// Instructions of one part may be this share over the committed figure.
const OF_A_PIECE: f64 = 0.05;
/// Of a whole request: threads and timers come into it.
const OF_A_REQUEST: f64 = 0.10;
/// The two lengths that are subtracted.
const REPEATS: [u64; 2] = [200, 1_200];
const REQUESTS: [u64; 2] = [100, 600];

/// The committed figures, and what they depend on beside our own code.
#[derive(Serialize, Deserialize)]
struct Committed {
    tools: Tools,
    instructions: BTreeMap<String, f64>,
}

#[derive(Serialize, Deserialize, PartialEq, Eq, Debug)]
struct Tools {
    rustc: String,
    libc: String,
    valgrind: String,
    cpu: String,
}

/// Plays one piece, for callgrind to count.
pub fn play(name: &str, times: u64) -> Outcome<()> {
    let piece = pieces::ALL.iter().find(|piece| piece.name == name);
    let piece = piece.ok_or_else(|| format!("there is no piece {name}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let _entered = runtime.enter();
    let mut work = (piece.make)();
    for _ in 0..times {
        work();
    }
    Ok(())
}

pub async fn run(options: &Options, folder: &Path) -> Outcome<()> {
    let Some(valgrind) = said("valgrind", &["--version"]) else {
        println!("skipped: valgrind is not installed (Debian: apt-get install valgrind)");
        return Ok(());
    };
    let tools = Tools {
        rustc: said("rustc", &["-V"]).unwrap_or_default(),
        libc: said("ldd", &["--version"]).unwrap_or_default(),
        valgrind,
        cpu: cpu(),
    };
    let file = options.results.join("instructions.json");
    let committed: Option<Committed> = match fs::read(&file) {
        Ok(text) => Some(serde_json::from_slice(&text)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(format!("{}: {error}", file.display()).into()),
    };
    let same_tools = committed.as_ref().is_none_or(|known| known.tools == tools);
    println!("\n## guard\n\nInstructions under callgrind, the difference of two lengths.\n");
    println!("| what | instructions | committed | change |\n| --- | --- | --- | --- |");
    let mut counted = BTreeMap::new();
    let mut worse = Vec::new();
    let known = committed.as_ref().map(|known| &known.instructions);
    let mut tell = |name: &str, figure: f64, tolerance: f64| {
        let before = known.and_then(|known| known.get(name)).copied();
        let change = before.map(|before| figure / before - 1.0);
        let shown = |value: Option<f64>, digits: usize| {
            value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
        };
        let percent = change.map(|change| change * 100.0);
        println!(
            "| {name} | {figure:.0} | {} | {} % |",
            shown(before, 0),
            shown(percent, 1)
        );
        if change.is_some_and(|change| change > tolerance) {
            worse.push(name.to_owned());
        }
        counted.insert(name.to_owned(), figure.round());
    };
    for piece in pieces::ALL.iter().filter(|piece| !piece.heavy) {
        tell(piece.name, of_piece(piece.name, folder)?, OF_A_PIECE);
    }
    for (name, figure) in of_requests(folder)? {
        tell(&name, figure, OF_A_REQUEST);
    }
    if options.bless || committed.is_none() {
        fs::create_dir_all(&options.results)?;
        let blessed = Committed {
            tools,
            instructions: counted,
        };
        fs::write(&file, serde_json::to_string_pretty(&blessed)? + "\n")?;
        println!("\nwritten to {}", file.display());
        return Ok(());
    }
    if let (false, Some(known)) = (same_tools, &committed) {
        println!(
            "\nnot judged: the committed figures are of other tools\n  {:?}\n  {tools:?}",
            known.tools
        );
        return Ok(());
    }
    if worse.is_empty() {
        return Ok(());
    }
    Err(format!(
        "more instructions than before: {} (if that is the price of something, `benches/guard --bless`)",
        worse.join(", ")
    )
    .into())
}

fn of_piece(name: &str, folder: &Path) -> Outcome<f64> {
    let mut counts = Vec::new();
    for times in REPEATS {
        let out = folder.join("callgrind.out");
        let played = callgrind(&out, &std::env::current_exe()?)
            .args([
                "--role",
                "piece",
                "--piece",
                name,
                "--times",
                &times.to_string(),
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()?;
        if !played.status.success() {
            return Err(format!("{name}: {}", String::from_utf8_lossy(&played.stderr)).into());
        }
        counts.push(collected(&out)?);
    }
    Ok((counts[1] - counts[0]) / (REPEATS[1] - REPEATS[0]) as f64)
}

/// A gateway under callgrind, one connection, one request after the other.
fn of_requests(folder: &Path) -> Outcome<Vec<(String, f64)>> {
    let fake = fake_aws(None)?;
    let queue = Setup::orders(QUEUE).section("queues: { orders: {} }");
    let staff =
        Setup::default()
            .section(&door::trust())
            .route("POST /orders", "authorizer: staff", MOCK);
    let token = door::tokens("POST", "/orders", 1024)?.swap_remove(0);
    let key = || Prototype::numbered("/orders", &keyed(), 1024);
    let mut figures = Vec::new();
    for (name, setup, request) in [
        ("request: Mock, API key", Setup::orders(MOCK), key()),
        ("request: Mock, cached JWT", staff, token),
        ("request: embedded queue", queue, key()),
        (
            "request: SQS, alone in its batch",
            Setup::orders(SQS).endpoint(fake.address),
            key(),
        ),
    ] {
        let mut counts = Vec::new();
        for times in REQUESTS {
            // Slowed down fifty times, a gateway would think itself overloaded.
            let patient = setup
                .clone()
                .section("limits: { cpu_wait: none, timeout: 60s }");
            // A store of its own for each: making one costs more than opening one.
            let file = patient.write(folder, &format!("{name} {times}"))?;
            let out = folder.join("callgrind.out");
            let mut command = callgrind(&out, Path::new(env!("CARGO_BIN_EXE_penstock")));
            command.arg("serve").arg(&file);
            command.current_dir(file.parent().unwrap_or(folder));
            let mut server = Server::program(name, &mut command)?;
            drive(server.address, &request, times)?;
            server.terminate(Duration::from_secs(120))?;
            counts.push(collected(&out)?);
        }
        let each = (counts[1] - counts[0]) / (REQUESTS[1] - REQUESTS[0]) as f64;
        figures.push((name.to_owned(), each));
    }
    Ok(figures)
}

fn drive(address: SocketAddr, request: &Prototype, times: u64) -> Outcome<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let (mut bytes, mut answer) = (Vec::new(), vec![0; 16 << 10]);
    for _ in 0..times {
        request.next(&mut bytes);
        stream.write_all(&bytes)?;
        // Answers are small enough to come in one piece.
        let read = stream.read(&mut answer)?;
        if !answer[..read].starts_with(b"HTTP/1.1 20") {
            return Err(String::from_utf8_lossy(&answer[..read]).into_owned().into());
        }
    }
    Ok(())
}

fn callgrind(out: &Path, program: &Path) -> Command {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "-q"]);
    command.arg(format!("--callgrind-out-file={}", out.display()));
    command.arg(program);
    command
}

/// The sum over all threads.
fn collected(out: &PathBuf) -> Outcome<f64> {
    let text = fs::read_to_string(out)?;
    fs::remove_file(out)?;
    let total = text
        .lines()
        .find_map(|line| {
            line.strip_prefix("summary: ")
                .or(line.strip_prefix("totals: "))
        })
        .ok_or("callgrind has written no total")?;
    Ok(total.trim().parse()?)
}

/// The first line that a program says.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(text.lines().next().unwrap_or_default().to_owned())
}

fn cpu() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(String::new, |(_, model)| model.to_owned())
}
