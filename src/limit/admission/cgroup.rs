//! Control groups: how much memory the container may use, and uses. Version 2 (`memory.max`) and version 1
//! (`memory.limit_in_bytes`); every group around ours has a limit of its own, and the fullest counts.

use std::fs;
use std::path::{Path, PathBuf};

use super::memory::MemoryUse;

/// Version 1 writes "no limit" as the largest multiple of a page; nothing has that much.
const NO_LIMIT: u64 = 1 << 60;

/// The files of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    folder: PathBuf,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The group that this process is in, and those around it; empty where there is none.
pub(super) fn of_this_process() -> Vec<Group> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    groups(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"))
}

/// The groups by what the kernel says of the process and of the mounts (`proc_pid_cgroup(5)`, `proc_pid_mountinfo(5)`).
fn groups(of_process: &str, mounts: &str) -> Vec<Group> {
    let mut found = Vec::new();
    for line in of_process.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let version = match controllers {
            "" => Version::Two,
            some if some.split(',').any(|one| one == "memory") => Version::One,
            _ => continue,
        };
        let Some((mount, root)) = mount(mounts, version) else {
            continue;
        };
        // Inside a container the mount may begin at the container's own group.
        let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
        let mut folder = PathBuf::from(mount);
        folder.extend(below);
        loop {
            found.push(Group {
                folder: folder.clone(),
                version,
            });
            if folder == Path::new(mount) || !folder.pop() {
                break;
            }
        }
    }
    found
}

/// Where the hierarchy is mounted, and which of its groups stands there.
fn mount(mounts: &str, version: Version) -> Option<(&str, &str)> {
    mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        let (name, _, options) = (kind.next()?, kind.next()?, kind.next()?);
        let fits = match version {
            Version::Two => name == "cgroup2",
            Version::One => name == "cgroup" && options.split(',').any(|one| one == "memory"),
        };
        let mut place = place.split(' ').skip(3);
        let (root, at) = (place.next()?, place.next()?);
        fits.then_some((at, root))
    })
}

/// The group that has the least room, by the share of its limit; `None` where none has a limit.
pub(super) fn fullest(groups: &[Group]) -> Option<MemoryUse> {
    let share = |of: &MemoryUse| of.used as f64 / of.limit.max(1) as f64;
    let found = groups.iter().filter_map(Group::read);
    found.max_by(|one, other| share(one).total_cmp(&share(other)))
}

impl Group {
    /// `None`: it has no limit, or cannot be read.
    fn read(&self) -> Option<MemoryUse> {
        let (limit, used, prefix) = match self.version {
            Version::Two => ("memory.max", "memory.current", ""),
            Version::One => ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
        };
        let read = |name: &str| fs::read_to_string(self.folder.join(name)).ok();
        let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
        // "max" is no number: there is no limit.
        let limit = number(limit).filter(|limit| (1..NO_LIMIT).contains(limit))?;
        let files = read("memory.stat").map_or(0, |stat| file_pages(&stat, prefix));
        let used = number(used)?.saturating_sub(files);
        Some(MemoryUse { used, limit })
    }
}

/// Pages of files, which the kernel takes back when memory is short. Shared memory is not among them.
fn file_pages(stat: &str, prefix: &str) -> u64 {
    let wanted = ["active_file", "inactive_file"];
    let lines = stat.lines().filter_map(|line| {
        let (name, value) = line.split_once(' ')?;
        let name = name.strip_prefix(prefix)?;
        wanted.contains(&name).then(|| value.parse::<u64>().ok())?
    });
    lines.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        31 25 0:27 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755\n\
        36 31 0:32 / /sys/fs/cgroup/memory rw,nosuid shared:16 - cgroup cgroup rw,memory\n\
        40 31 0:36 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    fn folders(groups: &[Group]) -> Vec<&str> {
        groups
            .iter()
            .filter_map(|group| group.folder.to_str())
            .collect()
    }

    #[test]
    fn every_group_around_the_process_is_found() {
        let groups = groups("4:memory:/pods/one\n3:cpuset:/\n", MOUNTS);
        assert_eq!(
            folders(&groups),
            [
                "/sys/fs/cgroup/memory/pods/one",
                "/sys/fs/cgroup/memory/pods",
                "/sys/fs/cgroup/memory"
            ]
        );
    }

    #[test]
    fn inside_a_container_the_mount_begins_at_its_own_group() {
        let mounts = "36 31 0:32 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(
            folders(&groups("0::/docker/abc\n", mounts)),
            ["/sys/fs/cgroup"]
        );
        assert_eq!(
            folders(&groups("0::/../other\n", mounts)),
            ["/sys/fs/cgroup"]
        );
        assert!(groups("0::/\n", "").is_empty());
        assert!(groups("no groups\n", MOUNTS).is_empty());
    }

    #[test]
    fn the_fullest_group_counts_and_pages_of_files_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let write = |group: &str, name: &str, text: &str| {
            let group = folder.path().join(group);
            fs::create_dir_all(&group).unwrap();
            fs::write(group.join(name), text).unwrap();
        };
        write("", "memory.max", "1000\n");
        write("", "memory.current", "900\n");
        write(
            "",
            "memory.stat",
            "anon 500\nactive_file 100\ninactive_file 300\nshmem 7\n",
        );
        write("one", "memory.max", "max\n");
        write("one", "memory.current", "900\n");
        let group = |name: &str, version| Group {
            folder: folder.path().join(name),
            version,
        };
        let outer = group("", Version::Two);
        let found = fullest(&[group("one", Version::Two), outer.clone()]);
        let at_half = MemoryUse {
            used: 500,
            limit: 1000,
        };
        assert_eq!(found, Some(at_half));
        write("old", "memory.limit_in_bytes", "2000\n");
        write("old", "memory.usage_in_bytes", "1900\n");
        write(
            "old",
            "memory.stat",
            "active_file 1\ntotal_active_file 100\ntotal_inactive_file 100\n",
        );
        let fuller = MemoryUse {
            used: 1700,
            limit: 2000,
        };
        assert_eq!(fullest(&[outer, group("old", Version::One)]), Some(fuller));
        write("old", "memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(fullest(&[group("old", Version::One)]), None);
    }
}
