//! What a request costs end to end, as ratios between programs that take turns within one run. One case is one idea, by
//! its word; see `benches/README.md` for the commands, the budgets and the last figures. The programs that the gateway
//! is compared with, and the endpoint that both send to, are this binary again, as processes of their own.

mod cases;
mod options;
#[path = "../pieces/mod.rs"]
mod pieces;
mod roles;
mod support;

use clap::Parser as _;

use self::options::{BUDGETS, Case, Options};
use self::roles::Role;
use self::support::Outcome;

/// As the gateway has it: a baseline must not lose by its allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Outcome<()> {
    let options = Options::parse();
    if options.role == Some(Role::Piece) {
        // One thread: others would be counted too.
        return cases::guard::play(&options.piece, options.times);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    if let Some(role) = options.role {
        return runtime.block_on(roles::play(role, &options));
    }
    let chosen = match options.cases.as_slice() {
        [] => BUDGETS.to_vec(),
        named => named.to_vec(),
    };
    for case in chosen {
        let folder = scratch()?;
        let (options, folder) = (&options, folder.path());
        runtime.block_on(async {
            match case {
                Case::Accept => cases::accept::run(options, folder).await,
                Case::Sqs => cases::sqs::run(options, folder).await,
                Case::Latency => cases::sqs::latency(options, folder).await,
                Case::Kinesis => cases::kinesis::run(options, folder).await,
                Case::Queue => cases::accept::queue(options, folder).await,
                Case::Receive => cases::receive::run(options),
                Case::Tls => cases::tls::run(options, folder).await,
                Case::Idle => cases::idle::run(options, folder).await,
                Case::Integrity => cases::integrity::run(options, folder).await,
                Case::Door => cases::door::run(options, folder).await,
                Case::SpoolAccept => cases::spool::accept(options, folder).await,
                Case::SpoolBacklog => cases::spool::backlog(options, folder).await,
                Case::Overload => cases::overload::run(options, folder).await,
                Case::Soak => cases::soak::run(options, folder).await,
                Case::Growth => cases::growth::run(options, folder).await,
                Case::Guard => cases::guard::run(options, folder).await,
                Case::Peers => cases::peers::run(options, folder).await,
            }
        })?;
    }
    Ok(())
}

/// A folder on the disk that holds the build: the system's own for such things may be memory, where an fsync is free.
pub fn scratch() -> std::io::Result<tempfile::TempDir> {
    let below = env!("CARGO_TARGET_TMPDIR");
    std::fs::create_dir_all(below)?;
    tempfile::tempdir_in(below)
}
