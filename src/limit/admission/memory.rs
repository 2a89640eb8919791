//! Memory: what was in use when it was looked at last, the bodies that were let in since, and the watermark at which
//! requests are refused, before the kernel kills the process.
//!
//! What counts as in use is what the kernel cannot take back: not the pages of files.

use std::fs;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use super::Scarce;
use super::cgroup::{self, Group};
use crate::model::value::MemoryShare;

/// What is in use, and how much may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    pub used: u64,
    pub limit: u64,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Memory {
    /// Bytes; 0: none is needed.
    written: AtomicU64,
    /// 0: bytes are written, or nothing.
    percent: AtomicU8,
    /// As it was sampled. No limit: 0.
    used: AtomicU64,
    limit: AtomicU64,
    /// Bytes of bodies that had come when it was sampled: they are part of what was in use.
    counted: AtomicU64,
    /// `None`: looked for at the first sample.
    groups: Mutex<Option<Vec<Group>>>,
}

impl Memory {
    pub(super) fn new(limit: Option<MemoryShare>) -> Memory {
        let memory = Memory {
            written: AtomicU64::new(0),
            percent: AtomicU8::new(0),
            used: AtomicU64::new(0),
            limit: AtomicU64::new(0),
            counted: AtomicU64::new(0),
            groups: Mutex::new(None),
        };
        memory.configure(limit);
        memory
    }

    pub(super) fn configure(&self, limit: Option<MemoryShare>) {
        let (written, percent) = match limit {
            None => (0, 0),
            Some(MemoryShare::Bytes(bytes)) => (bytes.max(1), 0),
            Some(MemoryShare::Percent(percent)) => (0, percent),
        };
        self.written.store(written, Relaxed);
        self.percent.store(percent, Relaxed);
        self.note(0);
    }

    /// Looks at what is in use. `arrived`: bytes of bodies that are in memory now.
    pub(super) fn sample(&self, arrived: u64) {
        self.note(arrived);
    }

    fn note(&self, arrived: u64) {
        let own = fs::read_to_string("/proc/self/status").ok();
        let own = own.as_deref().and_then(own_use).unwrap_or(0);
        let written = self.written.load(Relaxed);
        let percent = u64::from(self.percent.load(Relaxed));
        let found = if written > 0 {
            MemoryUse {
                used: own,
                limit: written,
            }
        } else if percent > 0 {
            let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
            let groups = groups.get_or_insert_with(cgroup::of_this_process);
            let fullest = cgroup::fullest(groups).unwrap_or_else(|| {
                let machine = fs::read_to_string("/proc/meminfo").ok();
                MemoryUse {
                    used: own,
                    limit: machine.as_deref().and_then(machine_memory).unwrap_or(0),
                }
            });
            MemoryUse {
                used: fullest.used,
                limit: fullest.limit / 100 * percent,
            }
        } else {
            MemoryUse {
                used: own,
                limit: 0,
            }
        };
        self.set(found, arrived);
    }

    pub(super) fn set(&self, found: MemoryUse, arrived: u64) {
        self.used.store(found.used, Relaxed);
        self.limit.store(found.limit, Relaxed);
        self.counted.store(arrived, Relaxed);
    }

    /// The watermark; `None`: there is none.
    pub(super) fn limit(&self) -> Option<u64> {
        Some(self.limit.load(Relaxed)).filter(|limit| *limit > 0)
    }

    /// What is in use with the bodies that are promised now, and how much may be (0: all there is).
    pub(super) fn level(&self, promised: u64) -> MemoryUse {
        let since = promised.saturating_sub(self.counted.load(Relaxed));
        MemoryUse {
            used: self.used.load(Relaxed).saturating_add(since),
            limit: self.limit.load(Relaxed),
        }
    }

    /// Whether so many bytes more stay below the watermark.
    pub(super) fn admits(&self, promised: u64, asked: u64) -> Result<(), Scarce> {
        let MemoryUse { used, limit } = self.level(promised);
        let used = used.saturating_add(asked);
        if limit > 0 && used > limit {
            return Err(Scarce::Memory { used, limit });
        }
        Ok(())
    }
}

/// What the process itself holds of `/proc/self/status`: its anonymous and shared memory, not the pages of files.
fn own_use(status: &str) -> Option<u64> {
    let anonymous = kibibytes(status, "RssAnon:")?;
    Some(anonymous + kibibytes(status, "RssShmem:").unwrap_or(0))
}

/// The machine's memory of `/proc/meminfo`.
fn machine_memory(meminfo: &str) -> Option<u64> {
    kibibytes(meminfo, "MemTotal:")
}

/// The value of a line such as `MemTotal:  24684032 kB`, in bytes.
fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let number = line.trim().strip_suffix("kB")?.trim();
    number.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_process_holds_is_read_from_its_status() {
        let status = "VmRSS:\t   9000 kB\nRssAnon:\t    4000 kB\nRssFile:\t 4500 kB\nRssShmem:\t     500 kB\n";
        assert_eq!(own_use(status), Some(4500 << 10));
        assert_eq!(own_use("VmRSS: 1 kB\n"), None);
        assert_eq!(
            machine_memory("MemTotal:       24684032 kB\nMemFree: 1 kB\n"),
            Some(24_684_032 << 10)
        );
    }

    #[test]
    fn a_burst_between_two_samples_cannot_run_past_the_watermark() {
        let memory = Memory::new(None);
        memory.set(
            MemoryUse {
                used: 600,
                limit: 1000,
            },
            100,
        );
        // 100 bytes of the 600 are bodies that have come; those promised since are on top.
        assert!(memory.admits(100, 400).is_ok());
        assert!(memory.admits(300, 200).is_ok());
        assert_eq!(
            memory.admits(300, 201),
            Err(Scarce::Memory {
                used: 1001,
                limit: 1000
            })
        );
        // What has ended since is free again for those that come.
        assert!(memory.admits(0, 400).is_ok());
    }

    #[test]
    fn this_process_uses_some_memory_and_less_than_there_is() {
        let memory = Memory::new(Some(MemoryShare::AUTO));
        memory.sample(0);
        let MemoryUse { used, limit } = memory.level(0);
        assert!(used > 0 && used < limit, "{used} of {limit}");
    }
}
