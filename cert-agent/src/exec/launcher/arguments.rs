//! What the agent tells its launcher, as a command line.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::PathBuf,
};

/// One launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The scope's directory.
    pub cgroup: PathBuf,
    /// The user to become.
    pub uid: u32,
    /// The group to become.
    pub gid: u32,
    /// How many descriptors the program may have open.
    pub descriptors: u64,
    /// The program's whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The program's name, its argument 0.
    pub name: OsString,
    /// Its other arguments.
    pub arguments: Vec<OsString>,
}

impl Launch {
    /// `CGROUP UID GID DESCRIPTORS VARIABLES NAME=VALUE… NAME ARGUMENTS…`, with the number of variables before them. Nothing is optional, so nothing can be mistaken.
    pub(crate) fn to_arguments(&self) -> Vec<OsString> {
        let Self {
            cgroup,
            uid,
            gid,
            descriptors,
            environment,
            name,
            arguments,
        } = self;
        let numbers = [
            u64::from(*uid),
            u64::from(*gid),
            *descriptors,
            u64::try_from(environment.len()).unwrap_or(u64::MAX),
        ];
        let mut line = vec![cgroup.as_os_str().to_owned()];
        line.extend(
            numbers
                .iter()
                .map(|number| OsString::from(number.to_string())),
        );
        line.extend(environment.iter().map(|(name, value)| {
            [name.as_os_str(), OsStr::new("="), value]
                .into_iter()
                .collect::<OsString>()
        }));
        line.push(name.clone());
        line.extend(arguments.iter().cloned());
        line
    }

    pub(super) fn parse(line: impl IntoIterator<Item = OsString>) -> Option<Self> {
        let mut line = line.into_iter();
        let cgroup = PathBuf::from(line.next()?);
        let (uid, gid) = (number(line.next()?)?, number(line.next()?)?);
        let (descriptors, variables) = (number(line.next()?)?, number::<u32>(line.next()?)?);
        let mut environment = Vec::new();
        for _ in 0..variables {
            environment.push(variable(line.next()?)?);
        }
        Some(Self {
            cgroup,
            uid,
            gid,
            descriptors,
            environment,
            name: line.next()?,
            arguments: line.collect(),
        })
    }
}

fn number<N: std::str::FromStr>(text: OsString) -> Option<N> {
    text.into_string().ok()?.parse().ok()
}

fn variable(text: OsString) -> Option<(OsString, OsString)> {
    let at = text.as_bytes().iter().position(|byte| *byte == b'=')?;
    let mut name = text.into_vec();
    let value = name.split_off(at).into_iter().skip(1).collect();
    Some((OsString::from_vec(name), OsString::from_vec(value)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words() -> impl Strategy<Value = OsString> {
        proptest::collection::vec(any::<u8>(), 0..8).prop_map(OsString::from_vec)
    }

    fn names() -> impl Strategy<Value = OsString> {
        "[A-Z_]{1,8}".prop_map(OsString::from)
    }

    proptest! {
        #[test]
        fn launch_survives_the_command_line(
            cgroup in words(), uid: u32, gid: u32, descriptors: u64, name in words(), arguments in proptest::collection::vec(words(), 0..4),
            environment in proptest::collection::vec((names(), words()), 0..4),
        ) {
            let launch = Launch { cgroup: cgroup.into(), uid, gid, descriptors, environment, name, arguments };
            prop_assert_eq!(Launch::parse(launch.to_arguments()), Some(launch));
        }
    }

    #[test]
    fn incomplete_line_is_no_launch() {
        let line =
            |words: &[&str]| Launch::parse(words.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(line(&[]), None);
        assert_eq!(line(&["/cg", "1", "1", "9", "0"]), None);
        assert_eq!(line(&["/cg", "1", "1", "9", "1", "NAME"]), None);
        assert_eq!(line(&["/cg", "-1", "1", "9", "0", "x"]), None);
        assert!(line(&["/cg", "1", "1", "9", "0", "x"]).is_some());
    }
}
