//! The CA directory: `root.pem`, `root.key` (to be taken offline), `intermediate.pem`, `intermediate.key`.

use std::{
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use identity::{
    spiffe_id::TrustDomain,
    trust_bundle::TrustBundle,
    x509_svid::{self, Authority, verify_authority},
};
use rcgen::Issuer;
use rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::{
    certificate::{self, CLOCK_SKEW, CaKey, INTERMEDIATE_LIFETIME},
    error::CaError,
};
use crate::{
    issuer::Authorities,
    swapped::{self, File},
};

/// Where the embedded CA is kept.
#[derive(Debug, Clone)]
pub struct Directory(PathBuf);

impl Directory {
    /// Names a directory; nothing is read yet.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes a trust domain: a root, and its first intermediate.
    ///
    /// # Errors
    /// A root is there already, or files cannot be written.
    pub fn init(&self, trust_domain: &TrustDomain, now: SystemTime) -> Result<(), CaError> {
        let (certificate, key) = (self.file(ROOT), self.file(ROOT_KEY));
        for file in [&certificate, &key] {
            if file.exists() {
                return Err(CaError::Exists { file: file.clone() });
            }
        }
        swapped::make_private_directory(&self.0).map_err(|source| self.failed(source))?;
        let root_key = CaKey::generate()?;
        let root = certificate::root(trust_domain, &root_key, now)?;
        let pem = x509_svid::chain_to_pem(std::slice::from_ref(&root));
        write_new(&key, root_key.key().pkcs8_pem().as_bytes(), 0o600)?;
        write_new(&certificate, pem.as_bytes(), 0o644)?;
        self.write_intermediate(trust_domain, &root, &root_key, now)
    }

    /// Makes the next intermediate, under the root whose key must be here for it.
    ///
    /// # Errors
    /// The root or its key is missing or unusable, or files cannot be written.
    pub fn renew_intermediate(&self, now: SystemTime) -> Result<Authority, CaError> {
        let root = certificate_in(&self.0, ROOT)?;
        let root_key = key_in(&self.0, ROOT_KEY)?;
        let above = Authority::parse(&root).map_err(|source| CaError::InvalidAuthority {
            what: "root",
            source,
        })?;
        if above.public_key != *root_key.key().public_key() {
            return Err(CaError::Mismatch);
        }
        let trust_domain = above.trust_domain.ok_or(CaError::Encoding {
            source: rcgen::Error::CouldNotParseCertificate,
        })?;
        self.write_intermediate(&trust_domain, &root, &root_key, now)?;
        Ok(self.load(&trust_domain, now)?.authority)
    }

    /// Reads what the agent signs with. The root's key is not touched.
    ///
    /// # Errors
    /// A file is missing, exposed or wrong, or the intermediate does not hold at `now`.
    pub fn load(&self, trust_domain: &TrustDomain, now: SystemTime) -> Result<Loaded, CaError> {
        let root = certificate_in(&self.0, ROOT)?;
        let above = Authority::parse(&root).map_err(|source| CaError::InvalidAuthority {
            what: "root",
            source,
        })?;
        if above.trust_domain.as_ref() != Some(trust_domain) {
            return Err(CaError::WrongTrustDomain {
                wanted: trust_domain.clone(),
            });
        }
        let bundle = TrustBundle::new(trust_domain.clone(), vec![root])
            .map_err(|source| CaError::Bundle { source })?;
        // One generation: certificate and key are read through the same resolved directory.
        let generation = swapped::generation(&self.0);
        let intermediate = certificate_in(&generation, INTERMEDIATE)?;
        let key = key_in(&generation, INTERMEDIATE_KEY)?;
        let authority = verify_authority(&intermediate, &bundle, now)
            .map_err(|source| CaError::Intermediate { source })?;
        check_intermediate(&authority, &key)?;
        let signer = Issuer::from_ca_cert_der(&intermediate, key)
            .map_err(|source| CaError::Encoding { source })?;
        Ok(Loaded {
            bundle,
            intermediate,
            authority,
            signer,
        })
    }

    /// Says whether the root's key has not been taken offline.
    pub fn has_root_key(&self) -> bool {
        self.file(ROOT_KEY).exists()
    }

    fn write_intermediate(
        &self,
        trust_domain: &TrustDomain,
        root: &CertificateDer<'static>,
        root_key: &CaKey,
        now: SystemTime,
    ) -> Result<(), CaError> {
        let key = CaKey::generate()?;
        let certificate = certificate::intermediate(trust_domain, &key, root, root_key, now)?;
        let pem = x509_svid::chain_to_pem(&[certificate]);
        let key_pem = key.key().pkcs8_pem();
        let files = [
            File {
                name: INTERMEDIATE,
                bytes: pem.as_bytes(),
                mode: 0o644,
            },
            File {
                name: INTERMEDIATE_KEY,
                bytes: key_pem.as_bytes(),
                mode: 0o600,
            },
        ];
        swapped::swap(&self.0, &files, None).map_err(|source| self.failed(source))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn failed(&self, source: std::io::Error) -> CaError {
        CaError::File {
            file: self.0.clone(),
            source,
        }
    }
}

/// What the agent signs with.
#[derive(Debug)]
pub struct Loaded {
    bundle: TrustBundle,
    intermediate: CertificateDer<'static>,
    authority: Authority,
    signer: Issuer<'static, CaKey>,
}

impl Loaded {
    pub(super) fn signer(&self) -> &Issuer<'static, CaKey> {
        &self.signer
    }

    pub(super) fn intermediate(&self) -> &CertificateDer<'static> {
        &self.intermediate
    }

    /// The facts of the intermediate.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.intermediate == other.intermediate && self.bundle.roots() == other.bundle.roots()
    }

    /// This intermediate first, then those before it.
    pub(super) fn authorities(
        &self,
        before: &[CertificateDer<'static>],
        signing: &Self,
    ) -> Authorities {
        let mut intermediates = vec![self.intermediate.clone()];
        intermediates.extend(
            before
                .iter()
                .filter(|other| **other != self.intermediate)
                .cloned(),
        );
        Authorities {
            bundle: self.bundle.clone(),
            intermediates,
            signing: signing.intermediate.clone(),
        }
    }
}

fn check_intermediate(authority: &Authority, key: &CaKey) -> Result<(), CaError> {
    let life = authority
        .not_after
        .duration_since(authority.not_before)
        .unwrap_or_default();
    if life > INTERMEDIATE_LIFETIME + CLOCK_SKEW {
        return Err(CaError::TooLong);
    }
    if authority.public_key != *key.key().public_key() {
        return Err(CaError::Mismatch);
    }
    Ok(())
}

fn certificate_in(directory: &Path, name: &str) -> Result<CertificateDer<'static>, CaError> {
    let file = directory.join(name);
    let text = read(&file, Secrecy::Public)?;
    let chain = x509_svid::chain_from_pem(&text).map_err(|source| CaError::InvalidCertificate {
        file: file.clone(),
        source,
    })?;
    let [certificate] =
        <[_; 1]>::try_from(chain).map_err(|_several| CaError::NotOneCertificate { file })?;
    Ok(certificate)
}

fn key_in(directory: &Path, name: &str) -> Result<CaKey, CaError> {
    let file = directory.join(name);
    let text = read(&file, Secrecy::Secret)?;
    CaKey::from_pem(file, &text)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Secrecy {
    Public,
    Secret,
}

fn read(file: &Path, secrecy: Secrecy) -> Result<Zeroizing<Vec<u8>>, CaError> {
    let failed = |source| CaError::File {
        file: file.to_path_buf(),
        source,
    };
    let opened = std::fs::File::open(file).map_err(failed)?;
    let facts = opened.metadata().map_err(failed)?;
    let ours = facts.uid() == nix::unistd::geteuid().as_raw() || facts.uid() == 0;
    if secrecy == Secrecy::Secret && (!ours || facts.mode() & 0o077 != 0) {
        return Err(CaError::Exposed {
            file: file.to_path_buf(),
        });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE_BYTES));
    let limit = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX);
    opened.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn write_new(file: &Path, bytes: &[u8], mode: u32) -> Result<(), CaError> {
    swapped::write_new(file, bytes, mode, None).map_err(|source| CaError::File {
        file: file.to_path_buf(),
        source,
    })
}

const ROOT: &str = "root.pem";
const ROOT_KEY: &str = "root.key";
const INTERMEDIATE: &str = "intermediate.pem";
const INTERMEDIATE_KEY: &str = "intermediate.key";
/// Far above any key or certificate.
const MAX_FILE_BYTES: usize = 64 * 1024;
