//! Why a `queue` or `store` command could not do its work, and what to do about it.

use std::fmt;

use crate::admin::queues::Refused;
use crate::cli::Exit;
use crate::store::OpenError;

/// A failure, for people.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
    help: Option<String>,
}

impl Failure {
    /// The work could not be done.
    pub fn new(message: impl Into<String>) -> Failure {
        Failure {
            exit: Exit::Problems,
            message: message.into(),
            help: None,
        }
    }

    /// The command line makes no sense.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure {
            exit: Exit::Usage,
            ..Failure::new(message)
        }
    }

    /// Says what to do.
    pub fn help(mut self, help: impl Into<String>) -> Failure {
        self.help = Some(help.into());
        self
    }

    /// Tells the person.
    pub fn report(&self) -> Exit {
        eprintln!("{self}");
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.help {
            Some(help) => write!(f, "\nhelp: {help}"),
            None => Ok(()),
        }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Failure {
        Failure::new(refused.message)
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Failure {
        let failure = Failure::new(error.to_string());
        match error {
            OpenError::Locked { lock, holder, .. } => {
                let directory = lock.parent().unwrap_or(&lock).display();
                let by = holder.map_or_else(String::new, |pid| format!(" (pid {pid})"));
                Failure::new(format!("the store in {directory} is in use by another process{by}")).help(
                    "a running gateway is asked with `penstock queue … --admin URL` or -c FILE, in place of --store; \
                     to work on its files, stop it first",
                )
            }
            OpenError::Corrupt { file, .. } => {
                let directory = file.parent().unwrap_or(&file).display().to_string();
                failure.help(format!(
                    "`penstock store recover {directory}` saves what can be read, and keeps the old files"
                ))
            }
            OpenError::NewerVersion { .. } => {
                failure.help("use the version of penstock that wrote it, or a later one")
            }
            OpenError::ReadOnly { .. } => failure.help(
                "looking into the files takes the store's lock and reads its log, so they must be writable",
            ),
            OpenError::Full { .. } => failure.help("make room on the disk"),
            OpenError::TooSmall { .. } | OpenError::Io { .. } => failure,
        }
    }
}
