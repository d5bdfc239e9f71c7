//! What a program's own file tells the dynamic loader to bring in.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::ffi::OsStringExt as _,
    path::PathBuf,
};

use elf::{
    ElfStream, ParseError, abi, dynamic::DynamicTable, endian::AnyEndian, segment::ProgramHeader,
    string_table::StringTable,
};

/// The loader a program names, the libraries it needs, and where it wants them looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Linkage {
    /// `PT_INTERP`; none for a static program.
    pub(super) interpreter: Option<PathBuf>,
    /// `DT_NEEDED`, and the auditing libraries, which are loaded like it.
    pub(super) libraries: Vec<PathBuf>,
    /// `DT_RPATH` and `DT_RUNPATH`, one directory each.
    pub(super) search: Vec<PathBuf>,
}

/// The file is no program that the kernel runs by itself.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidElf {
    /// Not ELF, or damaged.
    #[error(
        "it is not an ELF file that can be read: scripts and their interpreters earn no identity"
    )]
    Malformed {
        #[source]
        source: ParseError,
    },
    /// An object file, a core dump.
    #[error("it is an ELF file of type {kind}, not an executable")]
    NotExecutable { kind: u16 },
    /// Reading failed, or a table is out of bounds.
    #[error("its ELF tables cannot be read")]
    Unreadable {
        #[source]
        source: io::Error,
    },
}

impl Linkage {
    /// Reads the program headers, which the kernel and the loader go by; section headers may say anything.
    pub(super) fn read(file: &File) -> Result<Self, InvalidElf> {
        let stream = ElfStream::<AnyEndian, _>::open_stream(file)
            .map_err(|source| InvalidElf::Malformed { source })?;
        let header = stream.ehdr;
        if ![abi::ET_EXEC, abi::ET_DYN].contains(&header.e_type) {
            return Err(InvalidElf::NotExecutable {
                kind: header.e_type,
            });
        }
        let segments = stream.segments();
        let mut linkage = Self::default();
        for segment in segments {
            match segment.p_type {
                abi::PT_INTERP => {
                    linkage.interpreter =
                        Some(path(&read(file, segment.p_offset, segment.p_filesz)?));
                }
                abi::PT_DYNAMIC => {
                    let table = read(file, segment.p_offset, segment.p_filesz)?;
                    linkage.add(
                        file,
                        segments,
                        &DynamicTable::new(header.endianness, header.class, &table),
                    )?;
                }
                _ => {}
            }
        }
        Ok(linkage)
    }

    fn add(
        &mut self,
        file: &File,
        segments: &[ProgramHeader],
        table: &DynamicTable<'_, AnyEndian>,
    ) -> Result<(), InvalidElf> {
        let entries: Vec<_> = table
            .iter()
            .take_while(|entry| entry.d_tag != abi::DT_NULL)
            .collect();
        let value = |tag| {
            entries
                .iter()
                .find(|entry| entry.d_tag == tag)
                .map(elf::dynamic::Dyn::d_val)
        };
        let (Some(address), Some(size)) = (value(abi::DT_STRTAB), value(abi::DT_STRSZ)) else {
            return Ok(());
        };
        let offset = file_offset(segments, address).ok_or_else(|| out_of_bounds("string table"))?;
        let strings = read(file, offset, size)?;
        let strings = StringTable::new(&strings);
        for entry in &entries {
            let name = || -> Result<Vec<u8>, InvalidElf> {
                let start =
                    usize::try_from(entry.d_val()).map_err(|_large| out_of_bounds("name"))?;
                Ok(strings
                    .get_raw(start)
                    .map_err(|source| InvalidElf::Malformed { source })?
                    .to_vec())
            };
            match entry.d_tag {
                abi::DT_NEEDED => self.libraries.push(path(&name()?)),
                abi::DT_AUDIT | abi::DT_DEPAUDIT | DT_AUXILIARY | DT_FILTER => {
                    self.libraries
                        .extend(name()?.split(|byte| *byte == b':').map(path));
                }
                abi::DT_RPATH | abi::DT_RUNPATH => self
                    .search
                    .extend(name()?.split(|byte| *byte == b':').map(path)),
                _ => {}
            }
        }
        Ok(())
    }
}

fn file_offset(segments: &[ProgramHeader], address: u64) -> Option<u64> {
    let holds = |segment: &&ProgramHeader| {
        segment.p_type == abi::PT_LOAD
            && address
                .checked_sub(segment.p_vaddr)
                .is_some_and(|within| within < segment.p_filesz)
    };
    let segment = segments.iter().find(holds)?;
    segment
        .p_offset
        .checked_add(address.checked_sub(segment.p_vaddr)?)
}

fn read(mut file: &File, offset: u64, size: u64) -> Result<Vec<u8>, InvalidElf> {
    let unreadable = |source| InvalidElf::Unreadable { source };
    if size > MAX_TABLE_BYTES {
        return Err(out_of_bounds("table"));
    }
    file.seek(SeekFrom::Start(offset)).map_err(unreadable)?;
    let mut bytes = Vec::new();
    let length = file
        .take(size)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if u64::try_from(length) == Ok(size) {
        Ok(bytes)
    } else {
        Err(out_of_bounds("table"))
    }
}

/// The text up to its terminating zero.
fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(
        bytes
            .iter()
            .copied()
            .take_while(|byte| *byte != 0)
            .collect(),
    ))
}

fn out_of_bounds(what: &str) -> InvalidElf {
    InvalidElf::Unreadable {
        source: io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a {what} is out of bounds"),
        ),
    }
}

const DT_AUXILIARY: i64 = 0x7fff_fffd;
const DT_FILTER: i64 = 0x7fff_ffff;
/// 64 MiB: a large C++ program's dynamic strings are a few.
const MAX_TABLE_BYTES: u64 = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read_bytes(bytes: &[u8]) -> Result<Linkage, InvalidElf> {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), bytes).unwrap();
        Linkage::read(&File::open(directory.path().join("file")).unwrap())
    }

    #[test]
    fn own_executable_names_its_loader_and_libraries() {
        let linkage =
            Linkage::read(&File::open(std::env::current_exe().unwrap()).unwrap()).unwrap();
        assert!(linkage.interpreter.unwrap().is_absolute());
        assert!(linkage.libraries.contains(&PathBuf::from("libc.so.6")));
    }

    #[test]
    fn script_is_no_program() {
        assert!(matches!(
            read_bytes(b"#!/bin/sh\nexit 0\n"),
            Err(InvalidElf::Malformed { .. })
        ));
        assert!(matches!(read_bytes(b""), Err(InvalidElf::Malformed { .. })));
    }

    #[test]
    fn object_file_is_no_program() {
        let mut bytes = fs::read(std::env::current_exe().unwrap()).unwrap();
        bytes[16] = 1; // e_type = ET_REL
        assert!(matches!(
            read_bytes(&bytes),
            Err(InvalidElf::NotExecutable { kind: 1 })
        ));
    }

    #[test]
    fn truncated_program_is_refused() {
        let bytes = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(read_bytes(&bytes[..4096]).is_err());
    }
}
