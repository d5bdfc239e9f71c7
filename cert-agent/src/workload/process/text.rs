//! The text the kernel writes under `/proc/PID`, read into values.

/// Who a thread is and what it may do, from `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status {
    /// Real, effective, saved, file system.
    pub(super) uids: [u32; 4],
    /// Permitted and effective.
    pub(super) capabilities: u64,
}

impl Status {
    pub(super) fn parse(status: &[u8]) -> Option<Self> {
        // A thread's name is in `status` too; the kernel escapes its line ends, so no line can be forged by it.
        let text = String::from_utf8_lossy(status);
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        };
        let uids: Vec<u32> = field("Uid")?
            .split_ascii_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .ok()?;
        let capability = |name: &str| u64::from_str_radix(field(name)?.trim(), 16).ok();
        Some(Self {
            uids: uids.try_into().ok()?,
            capabilities: capability("CapPrm")? | capability("CapEff")?,
        })
    }
}

/// One range of memory that holds code from a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) path: String,
}

impl Mapping {
    /// The executable mappings of files in `maps`; `None` for a line that cannot be read.
    pub(super) fn code_from_files(maps: &[u8]) -> impl Iterator<Item = Option<Self>> {
        let lines = maps
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        lines
            .map(Line::parse)
            .filter(|line| line.as_ref().is_none_or(Line::is_code_of_a_file))
            .map(|line| Some(line?.mapping))
    }
}

/// One line of `maps`.
struct Line {
    mapping: Mapping,
    executable: bool,
    from_file: bool,
}

impl Line {
    fn parse(line: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(line);
        let mut fields = text.splitn(6, ' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let permissions = fields.next()?;
        let (_offset, _device, inode) = (fields.next()?, fields.next()?, fields.next()?);
        let address = |text| u64::from_str_radix(text, 16).ok();
        let path = fields.next().unwrap_or_default().trim_start().to_owned();
        let mapping = Mapping {
            start: address(start)?,
            end: address(end)?,
            path,
        };
        Some(Self {
            mapping,
            executable: permissions.contains('x'),
            from_file: inode != "0",
        })
    }

    const fn is_code_of_a_file(&self) -> bool {
        self.executable && self.from_file
    }
}

/// Field 22 of `stat`. The name before it is in parentheses and may hold anything, also parentheses and spaces.
pub(super) fn start_time(stat: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(stat);
    let (_name, fields) = text.rsplit_once(')')?;
    fields
        .split_ascii_whitespace()
        .nth(START_TIME_AFTER_NAME)?
        .parse()
        .ok()
}

/// The path of the line `0::PATH` of `cgroup`.
pub(super) fn cgroup2(cgroup: &[u8]) -> Option<String> {
    String::from_utf8_lossy(cgroup)
        .lines()
        .find_map(|line| line.strip_prefix("0::").map(str::to_owned))
}

/// The names in `environ`.
pub(super) fn variables(environment: &[u8]) -> impl Iterator<Item = &[u8]> {
    environment
        .split(|byte| *byte == 0)
        .filter_map(|variable| variable.split(|byte| *byte == b'=').next())
}

/// `state` is field 3 and comes first after the name.
const START_TIME_AFTER_NAME: usize = 19;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_is_read_past_a_hostile_name() {
        let stat = b"42 (a) 1 2 (b)) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777 1000 2 18446744073709551615";
        assert_eq!(start_time(stat), Some(777));
        assert_eq!(start_time(b"42 (a) S 1"), None);
        assert_eq!(start_time(b""), None);
    }

    #[test]
    fn cgroup2_line_is_found_beside_v1_lines() {
        assert_eq!(
            cgroup2(b"9:name=systemd:/x\n4:memory:/y\n0::/countersign/a-1\n"),
            Some("/countersign/a-1".to_owned())
        );
        assert_eq!(cgroup2(b"4:memory:/y\n"), None);
    }

    #[test]
    fn status_gives_uids_and_capabilities() {
        let status = b"Name:\tx\\nUid:\t9\nUid:\t1\t2\t3\t4\nCapInh:\t0\nCapPrm:\t0000000001000000\nCapEff:\t0000000000000001\n";
        assert_eq!(
            Status::parse(status),
            Some(Status {
                uids: [1, 2, 3, 4],
                capabilities: 0x0100_0001
            })
        );
        assert_eq!(
            Status::parse(b"Uid:\t1\t2\t3\nCapPrm:\t0\nCapEff:\t0\n"),
            None
        );
        assert_eq!(Status::parse(b"Uid:\t1\t2\t3\t4\n"), None);
    }

    #[test]
    fn only_code_from_files_is_listed() {
        let maps = b"00400000-00401000 r-xp 00000000 fe:00 12 /usr/bin/a b\n00601000-00602000 rw-p 00000000 fe:00 12 /usr/bin/a b\n\
            7f0000000000-7f0000001000 rwxp 00000000 00:00 0 \n7ffc00000000-7ffc00002000 r-xp 00000000 00:00 0                  [vdso]\n";
        let found: Vec<_> = Mapping::code_from_files(maps).collect();
        assert_eq!(
            found,
            [Some(Mapping {
                start: 0x40_0000,
                end: 0x40_1000,
                path: "/usr/bin/a b".to_owned()
            })]
        );
        assert_eq!(
            Mapping::code_from_files(b"garbage\n").collect::<Vec<_>>(),
            [None]
        );
    }

    #[test]
    fn variables_are_named_without_values() {
        let names: Vec<_> = variables(b"A=1\0LD_PRELOAD=/x=y\0")
            .filter(|name| !name.is_empty())
            .collect();
        assert_eq!(names, [&b"A"[..], b"LD_PRELOAD"]);
    }
}
