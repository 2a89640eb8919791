//! Sockets that a supervisor has opened for us (systemd's socket activation, sd_listen_fds(3)). They are the supervisor's:
//! while one process goes and the next one comes they stay, and connections queue in them.
//!
//! Each is taken by name: `FileDescriptorName=` is the listener's name in the configuration, `admin`, or `sqs`. What was
//! passed has the say over the address; `bind` is not looked at.

use std::collections::HashMap;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::process::{PidfdFlags, PidfdGetfdFlags};
use socket2::Socket;

/// The first descriptor that is passed (SD_LISTEN_FDS_START).
const FIRST: RawFd = 3;

/// What was passed and not taken yet, by name; descriptors of one name in their order.
static PASSED: OnceLock<Mutex<HashMap<String, Vec<RawFd>>>> = OnceLock::new();

/// The socket of that name, if one was passed. Each is given once.
///
/// # Errors
/// What was passed under the name is not ours to take, or does not listen.
pub(super) fn take(name: &str) -> io::Result<Option<Socket>> {
    let passed = PASSED.get_or_init(|| Mutex::new(passed(&|name| std::env::var(name).ok())));
    let number = {
        let mut passed = passed.lock().unwrap_or_else(PoisonError::into_inner);
        match passed.get_mut(name) {
            Some(numbers) if !numbers.is_empty() => numbers.remove(0),
            _ => return Ok(None),
        }
    };
    let socket = Socket::from(owned(number)?);
    if !socket.is_listener()? {
        let said =
            "it does not listen (a socket unit with Accept=yes passes connections, not listeners)";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, said));
    }
    socket.set_nonblocking(true)?;
    Ok(Some(socket))
}

/// The names of what was passed and nobody has taken.
pub fn untaken() -> Vec<String> {
    let Some(passed) = PASSED.get() else {
        return Vec::new();
    };
    let passed = passed.lock().unwrap_or_else(PoisonError::into_inner);
    let left = passed.iter().filter(|(_, numbers)| !numbers.is_empty());
    let mut names: Vec<_> = left.map(|(name, _)| name.clone()).collect();
    names.sort();
    names
}

/// A descriptor of our own for the same socket. A number alone says nothing about who owns what, so it is asked for as
/// another process's would be (pidfd_getfd(2)).
fn owned(number: RawFd) -> io::Result<OwnedFd> {
    let ourselves = rustix::process::getpid();
    let ourselves = rustix::process::pidfd_open(ourselves, PidfdFlags::empty())?;
    let owned = rustix::process::pidfd_getfd(ourselves, number, PidfdGetfdFlags::empty())?;
    Ok(owned)
}

/// What the environment says was passed to this very process.
fn passed(variable: &dyn Fn(&str) -> Option<String>) -> HashMap<String, Vec<RawFd>> {
    let number = |name| variable(name)?.parse::<u32>().ok();
    let mut passed: HashMap<String, Vec<RawFd>> = HashMap::new();
    if number("LISTEN_PID") != Some(std::process::id()) {
        return passed;
    }
    let count = number("LISTEN_FDS").unwrap_or_default();
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    for number in (FIRST..).take(count as usize) {
        let name = names.next().unwrap_or_default();
        passed.entry(name.to_owned()).or_default().push(number);
    }
    passed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_passed_to_this_process_is_known_by_name() {
        let own = std::process::id().to_string();
        let variables = |pid: &str| {
            let pid = pid.to_owned();
            move |name: &str| match name {
                "LISTEN_PID" => Some(pid.clone()),
                "LISTEN_FDS" => Some("3".to_owned()),
                "LISTEN_FDNAMES" => Some("public:admin:public".to_owned()),
                _ => None,
            }
        };
        let found = passed(&variables(&own));
        assert_eq!(found["public"], [3, 5]);
        assert_eq!(found["admin"], [4]);
        assert!(passed(&variables("1")).is_empty(), "another process's");
    }

    #[test]
    fn a_descriptor_is_taken_over_and_one_that_is_not_there_is_not() {
        use std::os::fd::AsRawFd as _;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let taken = Socket::from(owned(listener.as_raw_fd()).unwrap());
        drop(listener);
        assert!(taken.is_listener().unwrap());
        assert!(std::net::TcpStream::connect(address).is_ok());
        assert!(owned(1_000_000).is_err());
    }
}
