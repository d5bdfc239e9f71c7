use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

/// A directory under the test's own user, whoever that is.
struct Fixture {
    directory: tempfile::TempDir,
}

const BUNDLE: &[u8] = br#"{"mediaType":"m","verificationMaterial":{},"dsseEnvelope":{}}"#;

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        set_mode(directory.path(), 0o755);
        Self { directory }
    }

    fn source(&self) -> DirectorySource {
        let owner = fs::metadata(self.directory.path()).unwrap().uid();
        DirectorySource {
            directories: vec![self.directory.path().to_owned()],
            owner,
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        set_mode(&path, 0o644);
        path
    }

    fn evidence(&self) -> Result<Vec<Evidence>, SourceError> {
        self.source().evidence(&digest())
    }
}

/// The name of a file of evidence in the flat layout.
fn flat(number: usize) -> String {
    format!("sha256-{}.{number}.json", digest().hex())
}

fn digest() -> Digest {
    Digest::sha256_of(b"program")
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn both_layouts_are_read_in_order_and_nothing_else() {
    let fixture = Fixture::new();
    fixture.write(&flat(1), BUNDLE);
    fixture.write(
        &format!("sha256/{}/a.json", digest().hex()),
        br#"{"payloadType":"t"}"#,
    );
    fixture.write(
        &format!("sha256/{}/readme.txt", digest().hex()),
        b"no evidence",
    );
    fixture.write(
        &format!("sha256-{}.json", Digest::sha256_of(b"other").hex()),
        BUNDLE,
    );
    let found = fixture.evidence().unwrap();
    assert!(matches!(
        found[..],
        [Evidence::Dsse { .. }, Evidence::SigstoreBundle { .. }]
    ));
}

#[test]
fn a_name_without_a_part_between_digest_and_ending_is_read_too() {
    let fixture = Fixture::new();
    fixture.write(&format!("sha256-{}.json", digest().hex()), BUNDLE);
    assert_eq!(fixture.evidence().unwrap().len(), 1);
}

#[test]
fn a_directory_that_does_not_exist_holds_nothing() {
    let source = DirectorySource::new(vec![PathBuf::from("/nowhere/evidence")]);
    assert_eq!(source.evidence(&digest()).unwrap(), []);
}

#[test]
fn a_file_of_no_form_is_handed_on_for_verification_to_name() {
    let fixture = Fixture::new();
    fixture.write(&flat(1), b"junk");
    assert_eq!(
        fixture.evidence().unwrap(),
        [Evidence::Dsse {
            envelope: b"junk".to_vec()
        }]
    );
}

#[test]
fn a_file_that_others_may_write_is_refused() {
    for mode in [0o664, 0o646] {
        let fixture = Fixture::new();
        set_mode(&fixture.write(&flat(1), BUNDLE), mode);
        assert!(matches!(
            fixture.evidence(),
            Err(SourceError::NotOurs { .. })
        ));
    }
}

#[test]
fn a_directory_that_others_may_write_is_refused_even_if_sticky() {
    for mode in [0o775, 0o757, 0o1777] {
        let fixture = Fixture::new();
        fixture.write(&flat(1), BUNDLE);
        set_mode(fixture.directory.path(), mode);
        assert!(matches!(
            fixture.evidence(),
            Err(SourceError::NotOurs { .. })
        ));
    }
}

#[test]
fn a_directory_above_that_others_may_write_is_refused() {
    let fixture = Fixture::new();
    let open = fixture.directory.path().join("open");
    fixture.write(&format!("open/evidence/{}", flat(1)), BUNDLE);
    set_mode(&open, 0o777);
    let mut source = fixture.source();
    source.directories = vec![open.join("evidence")];
    assert!(
        matches!(source.evidence(&digest()), Err(SourceError::NotOurs { path }) if path.ends_with("open"))
    );
}

#[test]
fn a_file_of_another_owner_is_refused() {
    let fixture = Fixture::new();
    let path = fixture.write(&flat(1), BUNDLE);
    std::os::unix::fs::chown(&path, Some(65_534), None)
        .expect("run as root: the file is given away");
    assert!(matches!(
        fixture.evidence(),
        Err(SourceError::NotOurs { .. })
    ));
}

#[test]
fn a_link_and_a_directory_in_a_files_place_are_refused() {
    let fixture = Fixture::new();
    let target = fixture.write("target", BUNDLE);
    symlink(target, fixture.directory.path().join(flat(1))).unwrap();
    assert!(matches!(fixture.evidence(), Err(SourceError::Io { .. })));

    let fixture = Fixture::new();
    fs::create_dir(fixture.directory.path().join(flat(1))).unwrap();
    assert!(matches!(
        fixture.evidence(),
        Err(SourceError::NotOurs { .. })
    ));
}

#[test]
fn too_large_a_file_and_too_many_files_are_refused() {
    let fixture = Fixture::new();
    fixture.write(&flat(1), &vec![b' '; MAX_EVIDENCE_BYTES + 1]);
    assert!(matches!(
        fixture.evidence(),
        Err(SourceError::TooLarge { .. })
    ));

    let fixture = Fixture::new();
    for number in 0..=MAX_FILES {
        fixture.write(&flat(number), BUNDLE);
    }
    assert!(matches!(
        fixture.evidence(),
        Err(SourceError::TooMany { .. })
    ));
}

#[test]
fn more_than_an_agent_may_tell_of_a_digest_is_an_error() {
    let fixture = Fixture::new();
    for number in 0..4 {
        fixture.write(&flat(number), &vec![b' '; MAX_EVIDENCE_BYTES]);
    }
    assert_eq!(fixture.evidence().unwrap().len(), 4);
    fixture.write(&flat(4), b" ");
    assert!(matches!(
        fixture.evidence(),
        Err(SourceError::TooLargeTogether { .. })
    ));
}
