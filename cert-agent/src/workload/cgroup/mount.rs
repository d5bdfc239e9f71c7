//! Where cgroup2 is mounted, and what else is mounted beside it.

use std::{fs, path::PathBuf};

use super::CgroupError;

/// Which cgroup2 mount scopes are made in. Hierarchies of v1 are never looked at: who may move a process there is not ours to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hierarchy {
    /// cgroup v2 is the only hierarchy.
    Unified,
    /// A cgroup2 mount stands beside v1 hierarchies.
    BesideV1,
}

impl Hierarchy {
    /// The hierarchy in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unified => "cgroup2",
            Self::BesideV1 => "cgroup2 beside v1 hierarchies",
        }
    }
}

/// The mount of cgroup2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Mount {
    pub(in super::super) point: PathBuf,
    pub(in super::super) hierarchy: Hierarchy,
    /// The cgroup that is mounted there: `/` unless a part of the tree was mounted.
    root: String,
}

impl Mount {
    /// Finds the mount.
    pub(in super::super) fn find() -> Result<Self, CgroupError> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")
            .map_err(|source| CgroupError::Mounts { source })?;
        Self::parse(&mounts).ok_or(CgroupError::NotMounted)
    }

    /// The path of a cgroup under the mount, as `/proc/PID/cgroup` shows it.
    pub(in super::super) fn name_of(&self, name: &str) -> String {
        format!("{}/{name}", self.root.trim_end_matches('/'))
    }

    fn parse(mounts: &str) -> Option<Self> {
        let mut found = None;
        let mut hierarchy = Hierarchy::Unified;
        for (root, point, kind) in mounts.lines().filter_map(fields) {
            match kind {
                "cgroup2" if found.is_none() => found = Some((root, point)),
                "cgroup" => hierarchy = Hierarchy::BesideV1,
                _ => {}
            }
        }
        let (root, point) = found?;
        Some(Self {
            point: PathBuf::from(unescape(point)),
            hierarchy,
            root: unescape(root),
        })
    }
}

/// `36 35 98:0 /root /point options optional… - type source options`
fn fields(line: &str) -> Option<(&str, &str, &str)> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    Some((left.next()?, left.next()?, right.split(' ').next()?))
}

/// The kernel writes space, tab, line end and backslash as three octal digits.
fn unescape(text: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (code, plain)| {
        text.replace(code, plain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str =
        "30 25 0:26 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu\n";

    #[test]
    fn cgroup2_beside_v1_is_found_and_said() {
        let mounts =
            format!("{V1}40 25 0:36 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n");
        let mount = Mount::parse(&mounts).unwrap();
        assert_eq!(mount.hierarchy, Hierarchy::BesideV1);
        assert_eq!(mount.point, PathBuf::from("/sys/fs/cgroup/unified"));
        assert_eq!(mount.name_of("countersign"), "/countersign");
    }

    #[test]
    fn cgroup2_alone_is_unified() {
        let mount = Mount::parse("40 25 0:36 / /sys/fs/cgroup rw,nosuid shared:4 master:1 - cgroup2 cgroup2 rw,nsdelegate\n").unwrap();
        assert_eq!(
            (mount.hierarchy, mount.point),
            (Hierarchy::Unified, PathBuf::from("/sys/fs/cgroup"))
        );
    }

    #[test]
    fn part_of_the_tree_keeps_its_name() {
        let mount = Mount::parse("40 25 0:36 /a\\040b /cg rw - cgroup2 cgroup2 rw\n").unwrap();
        assert_eq!(mount.name_of("countersign"), "/a b/countersign");
    }

    #[test]
    fn v1_alone_has_no_mount() {
        assert_eq!(Mount::parse(V1), None);
        assert_eq!(Mount::parse("garbage"), None);
    }
}
