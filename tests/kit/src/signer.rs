//! Signs a program as an operator's release would: one DSSE envelope, named by the program's digest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use evidence::digest::Digest;
use evidence::dsse::Envelope;
use evidence::statement::{PAYLOAD_TYPE, Statement};
use identity::PrivateKey;

/// The digest of a program's bytes.
///
/// # Errors
///
/// When the file cannot be read.
pub fn digest_of(program: &Path) -> anyhow::Result<Digest> {
    let bytes =
        std::fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    Ok(Digest::sha256_of(&bytes))
}

/// Says, signed by `key`, that `digest` is the product `product`.
///
/// # Errors
///
/// When the key does not sign.
pub fn sign(digest: &Digest, product: &str, key: &PrivateKey) -> anyhow::Result<Vec<u8>> {
    let annotations = BTreeMap::from([("product".to_owned(), product.to_owned())]);
    let statement = Statement::signature_of(digest.clone(), None, annotations);
    Ok(Envelope::sign(PAYLOAD_TYPE, statement.to_json()?, key)?.to_json()?)
}

/// Writes evidence for `digest` where a cert-agent looks for it.
///
/// # Errors
///
/// When the file cannot be written.
pub fn place(directory: &Path, digest: &Digest, evidence: &[u8]) -> anyhow::Result<PathBuf> {
    let path = directory.join(format!("sha256-{}.dsse.json", digest.hex()));
    std::fs::write(&path, evidence).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
