use proptest::prelude::*;
use rcgen::{KeyPair, PublicKeyData as _, SignatureAlgorithm, SigningKey as _};

use super::*;
use crate::PrivateKey;

fn pair(algorithm: &'static SignatureAlgorithm) -> (KeyPair, PublicKey) {
    let pair = KeyPair::generate_for(algorithm).unwrap();
    let key = PublicKey::from_spki_der(&pair.subject_public_key_info()).unwrap();
    (pair, key)
}

#[test]
fn every_accepted_kind_verifies_its_own_signature_alone() {
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
        &rcgen::PKCS_RSA_SHA256,
    ] {
        let (signer, key) = pair(algorithm);
        let signature = signer.sign(b"message").unwrap();
        assert_eq!(key.verify(b"message", &signature), Ok(()), "{key:?}");
        assert_eq!(
            key.verify(b"massage", &signature),
            Err(BadSignature),
            "{key:?}"
        );
        let (_, other) = pair(algorithm);
        assert_eq!(
            other.verify(b"message", &signature),
            Err(BadSignature),
            "{key:?}"
        );
    }
}

/// Made with `openssl dgst -sha256` and `-sha512`.
#[test]
fn p384_is_accepted_with_sha256_as_well_but_not_with_others() {
    let key = PublicKey::from_pem(
        b"-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEL/0V4+OG3+6dS+2Qw+95TiN/1fcIVyTu
0lgvhoRxUwlLuiZwybVwpcLoNLiFto6SDv3YxDDzRjM70qcrDA9MB4o/06uWRilw
zPebNaNQijz+N2hUMqtu866/OLaxKBmv
-----END PUBLIC KEY-----",
    )
    .unwrap();
    let sha256 = "3065023100d3dbef5b4c62d7e6971890a56811ee1892c48b23cbb6a8c6e354b6ad6f13fd221dda68010c1146799a59c3ccf0de1b2e0230\
                  34df433d53ce50d48f76ceb35346b4b46380ca88e04b0332c0ee044effe1f7bd384449dffd341090e0cc9a762a91f831";
    let sha512 = "30640230009eaa67afaeaf07776544518d91db1ac46472724b65af5ae274c911b8057330ef3f780e52a5b8cfe8ef1d7066b8d48e0230\
                  13e85993f6d26ec59d64a6c787112c9ad30424592d3143c15d06d8a49517cc4ce0d0ecc49a646b4aa80c6d2d5b35e50b";
    assert_eq!(
        key.verify(b"message", &hex::decode(sha256).unwrap()),
        Ok(())
    );
    assert_eq!(
        key.verify(b"message", &hex::decode(sha512).unwrap()),
        Err(BadSignature)
    );
}

#[test]
fn key_survives_pem() {
    let (_, key) = pair(&rcgen::PKCS_ED25519);
    assert_eq!(PublicKey::from_pem(key.to_pem().as_bytes()).unwrap(), key);
}

#[test]
fn hash_is_the_sha256_of_the_der() {
    let (_, key) = pair(&rcgen::PKCS_ED25519);
    let expected = digest::digest(&digest::SHA256, key.spki_der());
    assert_eq!(key.hash().as_bytes(), expected.as_ref());
    assert_eq!(SpkiHash::from_hex(&key.hash().to_string()), Ok(key.hash()));
}

#[test]
fn hash_has_one_spelling() {
    let hash = "ab".repeat(32);
    assert!(SpkiHash::from_hex(&hash).is_ok());
    assert_eq!(
        SpkiHash::from_hex(&hash.to_uppercase()),
        Err(InvalidSpkiHash::Character)
    );
    assert_eq!(
        SpkiHash::from_hex(&"zz".repeat(32)),
        Err(InvalidSpkiHash::Character)
    );
    assert_eq!(SpkiHash::from_hex("abc"), Err(InvalidSpkiHash::Length));
    assert_eq!(SpkiHash::from_hex("ab"), Err(InvalidSpkiHash::Length));
}

#[test]
fn hash_is_a_string_in_json() {
    let (_, key) = pair(&rcgen::PKCS_ED25519);
    let json = serde_json::to_string(&key.hash()).unwrap();
    assert_eq!(json, format!("\"{}\"", key.hash()));
    assert_eq!(serde_json::from_str::<SpkiHash>(&json).unwrap(), key.hash());
    assert!(serde_json::from_str::<SpkiHash>("\"ab\"").is_err());
}

#[test]
fn oversized_key_is_refused() {
    let der = vec![0; MAX_PUBLIC_KEY_BYTES + 1];
    assert!(matches!(
        PublicKey::from_spki_der(&der),
        Err(InvalidPublicKey::TooLarge)
    ));
}

#[test]
fn private_key_is_no_public_key() {
    let text = PrivateKey::generate().unwrap().pkcs8_pem();
    assert!(matches!(
        PublicKey::from_pem(text.as_bytes()),
        Err(InvalidPublicKey::Pem { .. })
    ));
}

#[test]
fn garbage_is_malformed() {
    assert!(matches!(
        PublicKey::from_spki_der(b"\x30\x03abc"),
        Err(InvalidPublicKey::Malformed)
    ));
}

#[test]
fn bytes_after_the_key_are_refused() {
    let (_, key) = pair(&rcgen::PKCS_ED25519);
    let mut der = key.spki_der().to_vec();
    der.push(0);
    assert!(matches!(
        PublicKey::from_spki_der(&der),
        Err(InvalidPublicKey::TrailingData)
    ));
}

#[test]
fn other_algorithm_is_refused_by_name() {
    let (_, key) = pair(&rcgen::PKCS_ED25519);
    // X25519 is 1.3.101.110: a key of the same shape that cannot sign.
    let der = replaced(key.spki_der(), &[0x2b, 0x65, 0x70], &[0x2b, 0x65, 0x6e]);
    let error = PublicKey::from_spki_der(&der).unwrap_err();
    assert!(
        matches!(&error, InvalidPublicKey::Algorithm { oid } if oid == "1.3.101.110"),
        "{error}"
    );
}

#[test]
fn other_curve_is_refused() {
    let (_, key) = pair(&rcgen::PKCS_ECDSA_P384_SHA384);
    // secp521r1 is 1.3.132.0.35.
    let der = replaced(
        key.spki_der(),
        &[0x2b, 0x81, 0x04, 0x00, 0x22],
        &[0x2b, 0x81, 0x04, 0x00, 0x23],
    );
    assert!(matches!(
        PublicKey::from_spki_der(&der),
        Err(InvalidPublicKey::Curve)
    ));
}

#[test]
fn point_off_the_curve_is_rejected() {
    let (_, key) = pair(&rcgen::PKCS_ECDSA_P256_SHA256);
    let mut der = key.spki_der().to_vec();
    *der.last_mut().unwrap() ^= 1;
    assert!(matches!(
        PublicKey::from_spki_der(&der),
        Err(InvalidPublicKey::Rejected)
    ));
}

fn replaced(der: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = der
        .windows(from.len())
        .position(|window| window == from)
        .unwrap();
    let mut der = der.to_vec();
    der[at..at + to.len()].copy_from_slice(to);
    der
}

proptest! {
    #[test]
    fn any_bytes_are_judged(der in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(PublicKey::from_spki_der(&der));
        drop(PublicKey::from_pem(&der));
    }
}
