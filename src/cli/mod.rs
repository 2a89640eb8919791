//! The command line: one file a subcommand. Tables go to people, `--json` to programs; the banner and the log go to
//! standard error, so that standard output holds the access log or JSON and nothing else.

mod capture;
mod check;
mod completions;
mod deploy;
mod drill;
mod explain;
mod export;
mod headers;
mod health;
mod iam;
mod import;
mod keys;
mod live;
mod load;
mod overrides;
mod plan;
mod queue;
mod rehearsal;
mod reload;
mod remote;
mod replay;
mod routes;
mod schema;
mod send;
mod serve;
mod store;
mod table;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// How a command ended; becomes the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Ok,
    /// Problems were found, or the request would be refused.
    Problems,
    /// The command line makes no sense.
    Usage,
    /// The gateway cannot start.
    CannotStart,
    /// Requests were cut off at the drain deadline.
    CutOff,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Ok => 0,
            Exit::Problems => 1,
            Exit::Usage => 2,
            Exit::CannotStart => 3,
            Exit::CutOff => 4,
        })
    }
}

const EXIT_CODES: &str = "Exit codes:\n  0  all is well\n  1  problems were found, or the request would be refused\n  \
                          2  the command line makes no sense\n  3  the gateway cannot start\n  4  requests were cut off at the drain deadline";

/// Penstock: a storage-first HTTP ingestion gateway. A 2xx means the bytes are durable.
#[derive(Debug, Parser)]
#[command(name = "penstock", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Capture(capture::Capture),
    Check(check::Check),
    Routes(routes::Routes),
    Explain(explain::Explain),
    Health(health::Health),
    Iam(iam::Iam),
    Import(import::Import),
    Export(export::Export),
    Keys(keys::Keys),
    Plan(plan::Plan),
    Replay(replay::Replay),
    Deploy(deploy::Deploy),
    Deployments(deploy::Deployments),
    Canary(deploy::Canary),
    Promote(deploy::Promote),
    Rollback(deploy::Rollback),
    Queue(queue::Queue),
    Reload(reload::Reload),
    Store(store::Store),
    Send(send::Send),
    Drill(drill::Drill),
    Schema(schema::Schema),
    Completions(completions::Completions),
}

/// Runs the command line.
pub fn main() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Ok
            };
            // A closed pipe is no reason to panic.
            let _ = error.print();
            return exit;
        }
    };
    match cli.command {
        Command::Serve(serve) => serve.run(),
        Command::Capture(capture) => capture.run(),
        Command::Check(check) => check.run(),
        Command::Routes(routes) => routes.run(),
        Command::Explain(explain) => explain.run(),
        Command::Health(health) => health.run(),
        Command::Iam(iam) => iam.run(),
        Command::Import(import) => import.run(),
        Command::Export(export) => export.run(),
        Command::Keys(keys) => keys.run(),
        Command::Plan(plan) => plan.run(),
        Command::Replay(replay) => replay.run(),
        Command::Deploy(deploy) => deploy.run(),
        Command::Deployments(deployments) => deployments.run(),
        Command::Canary(canary) => canary.run(),
        Command::Promote(promote) => promote.run(),
        Command::Rollback(rollback) => rollback.run(),
        Command::Queue(queue) => queue.run(),
        Command::Reload(reload) => reload.run(),
        Command::Store(store) => store.run(),
        Command::Send(send) => send.run(),
        Command::Drill(drill) => drill.run(),
        Command::Schema(schema) => schema.run(),
        Command::Completions(completions) => completions.run(),
    }
}

/// Writes to standard output. A reader that has gone away ends the output, not the process with a panic.
fn print(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The command line's definition, for completions and for tests.
fn definition() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed_and_every_argument_has_help() {
        definition().debug_assert();
        every_argument_has_help(&definition());
    }

    fn every_argument_has_help(command: &clap::Command) {
        for below in command.get_subcommands() {
            assert!(below.get_about().is_some(), "{}", below.get_name());
            for argument in below.get_arguments() {
                assert!(
                    argument.get_help().is_some() || argument.get_id() == "help",
                    "{} {}",
                    below.get_name(),
                    argument.get_id()
                );
            }
            every_argument_has_help(below);
        }
    }
}
