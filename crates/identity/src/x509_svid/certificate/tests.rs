use proptest::prelude::*;

use super::*;
use crate::{
    Leaf,
    testing::{Ca, FRONTEND, extension, uri},
    x509_svid::InvalidLeaf,
};

fn refused(der: &[u8]) -> InvalidCertificate {
    read(der).unwrap_err()
}

#[test]
fn chain_survives_pem() {
    let root = Ca::root();
    let chain = vec![root.leaf(FRONTEND), root.der.clone()];
    assert_eq!(
        chain_from_pem(chain_to_pem(&chain).as_bytes()).unwrap(),
        chain
    );
}

#[test]
fn oversized_certificate_is_refused() {
    assert_eq!(
        refused(&vec![0; MAX_CERTIFICATE_BYTES + 1]),
        InvalidCertificate::TooLarge
    );
}

#[test]
fn garbage_is_malformed() {
    assert_eq!(refused(b""), InvalidCertificate::Malformed);
    assert_eq!(
        refused(b"-----BEGIN CERTIFICATE-----"),
        InvalidCertificate::Malformed
    );
}

#[test]
fn bytes_after_the_certificate_are_refused() {
    let mut der = Ca::root().leaf(FRONTEND).to_vec();
    der.push(0);
    assert_eq!(refused(&der), InvalidCertificate::TrailingData);
}

#[test]
fn certificate_of_version_1_is_refused() {
    let mut der = Ca::root().leaf(FRONTEND).to_vec();
    let version3 = [0xa0, 0x03, 0x02, 0x01, 0x02];
    let at = der
        .windows(5)
        .position(|window| window == version3)
        .unwrap();
    der[at + 4] = 0;
    assert_eq!(refused(&der), InvalidCertificate::Version);
}

#[test]
fn repeated_extension_is_refused() {
    let der = Ca::root().leaf_with(FRONTEND, |params| {
        // A second subject alternative name extension, empty.
        params.custom_extensions = vec![extension(&[2, 5, 29, 17], b"\x30\x00")];
    });
    assert_eq!(
        refused(&der),
        InvalidCertificate::ExtensionRepeated {
            oid: "2.5.29.17".to_owned()
        }
    );
}

#[test]
fn malformed_extension_is_refused() {
    let der = Ca::root().leaf_with(FRONTEND, |params| {
        params.key_usages = Vec::new();
        params.custom_extensions = vec![extension(&[2, 5, 29, 15], b"\x04\x00")];
    });
    assert_eq!(
        refused(&der),
        InvalidCertificate::ExtensionMalformed {
            oid: "2.5.29.15".to_owned()
        }
    );
}

#[test]
fn uri_name_that_is_not_ascii_does_not_escape_the_count() {
    let der = Ca::root().leaf_with(FRONTEND, |params| {
        params.subject_alt_names = Vec::new();
        // Two URI names: `a:b`, and one that is not text.
        let names = b"\x30\x0a\x86\x03a:b\x86\x03\xff\xfe\xfd";
        params.custom_extensions = vec![extension(&[2, 5, 29, 17], names)];
    });
    assert!(matches!(
        Leaf::parse(&der),
        Err(InvalidLeaf::Certificate(
            InvalidCertificate::ExtensionMalformed { .. }
        ))
    ));
}

#[test]
fn validity_that_ends_before_it_begins_is_refused() {
    let der = Ca::root().leaf_with(FRONTEND, |params| {
        std::mem::swap(&mut params.not_before, &mut params.not_after);
    });
    let certificate = read(&der).unwrap();
    assert_eq!(validity(&certificate), Err(InvalidCertificate::Validity));
}

#[test]
fn time_before_the_epoch_is_told() {
    let der = Ca::root().leaf_with(FRONTEND, |params| {
        params.not_before = rcgen::date_time_ymd(1960, 1, 1);
    });
    let certificate = read(&der).unwrap();
    let (not_before, _) = validity(&certificate).unwrap();
    assert!(not_before < SystemTime::UNIX_EPOCH);
}

#[test]
fn names_keep_their_order() {
    let der = Ca::root().leaf_with(FRONTEND, |params| {
        params.subject_alt_names.push(uri("spiffe://b.test/x"));
    });
    let certificate = read(&der).unwrap();
    assert_eq!(
        uris(alternative_names(&certificate).0),
        [FRONTEND, "spiffe://b.test/x"]
    );
}

proptest! {
    #[test]
    fn any_bytes_are_judged(der in proptest::collection::vec(any::<u8>(), 0..300)) {
        drop(Leaf::parse(&der));
    }

    #[test]
    fn any_changed_byte_is_judged(at in any::<proptest::sample::Index>(), flip in 1..=255_u8) {
        let mut der = Ca::root().leaf(FRONTEND).to_vec();
        let at = at.index(der.len());
        der[at] ^= flip;
        drop(Leaf::parse(&der));
    }
}
