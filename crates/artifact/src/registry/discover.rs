//! Finds the signatures of a digest: by the referrers API, by the referrers tag schema, and by cosign's legacy tag.
//!
//! All three are always asked, so that a referrer hides no legacy signature and a broken API no tag. What fails is kept beside what was
//! found: an error is never taken for absence.

use std::{collections::BTreeSet, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use evidence::{Digest, Evidence, MAX_EVIDENCE_BYTES, statement::SIGNATURE_PREDICATE};
use futures_util::{StreamExt as _, future::join3, stream};

use super::{
    client::Client,
    limits::{MAX_EVIDENCE_TOTAL, MAX_PIECES, MAX_REFERRERS, MAX_SIGNATURE_LAYERS, PARALLEL},
};
use crate::{
    error::{ArtifactError, InvalidAnswer},
    manifest::{Descriptor, Image, Index, Manifest},
    reference::Repository,
};

mod referrers;

/// What a registry has to say for a digest.
#[derive(Clone, Debug, Default)]
pub struct Discovery {
    /// The evidence that was read. Nothing in it is verified.
    pub evidence: Vec<Evidence>,
    /// What could not be read. If nothing good was found, this is why, and it is not "unsigned".
    pub skipped: Vec<ArtifactError>,
}

impl Discovery {
    fn skip(&mut self, error: ArtifactError) {
        self.skipped.push(error);
    }

    /// Absence is an answer; everything else is kept.
    fn note<T>(&mut self, result: Result<T, ArtifactError>) -> Option<T> {
        match result {
            Ok(found) => Some(found),
            Err(error) if error.is_absence() => None,
            Err(error) => {
                self.skip(error);
                None
            }
        }
    }
}

/// The media type of a legacy signature's payload.
const SIMPLE_SIGNING_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// How every media type of a Sigstore bundle begins.
const BUNDLE_TYPE_PREFIX: &str = "application/vnd.dev.sigstore.bundle";

/// The layer annotation that holds a legacy signature.
const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";

/// The manifest annotation that says what a bundle's statement predicates.
const PREDICATE_ANNOTATION: &str = "dev.sigstore.bundle.predicateType";

/// Asks all three ways at once, then reads what they name.
pub(super) async fn discover(
    client: &Client,
    repository: &Repository,
    subject: &Digest,
) -> Discovery {
    let mut discovery = Discovery::default();
    let schema_tag = referrers_tag(subject);
    let legacy_tag = format!("{}-{}.sig", subject.algorithm().name(), subject.hex());
    let (by_api, by_tag, legacy) = join3(
        client.referrers(repository, subject),
        client.tagged(repository, &schema_tag),
        client.tagged(repository, &legacy_tag),
    )
    .await;

    discovery.skipped.extend(
        by_api
            .skipped
            .into_iter()
            .filter(|error| !error.is_absence()),
    );
    let by_tag = discovery
        .note(by_tag)
        .and_then(|manifest| discovery.note(index_of(&manifest, &schema_tag)));
    let listed = by_api
        .children
        .into_iter()
        .chain(by_tag.into_iter().flat_map(|index| index.children));
    let mut manifests = fetch_referrers(client, repository, listed, &mut discovery).await;
    manifests.extend(discovery.note(legacy));

    let layers = manifests
        .iter()
        .flat_map(|manifest| signature_layers(manifest, &mut discovery))
        .collect();
    read_layers(client, repository, layers, &mut discovery).await;
    discovery
}

/// `sha256-<hex>`, each part cut to the lengths of the specification.
// SPEC(OCI distribution, "Referrers Tag Schema"): <alg> is cut to 32 characters and <ref> to 64.
fn referrers_tag(subject: &Digest) -> String {
    let hex: String = subject.hex().chars().take(64).collect();
    format!("{}-{hex}", subject.algorithm().name())
}

fn index_of(manifest: &Manifest, tag: &str) -> Result<Index, ArtifactError> {
    match manifest {
        Manifest::Index(index) => Ok(index.clone()),
        // An image may be tagged like this by anyone; it lists nothing.
        Manifest::Image(_) => Err(ArtifactError::NotFound {
            what: format!("index `{tag}`"),
        }),
    }
}

/// The manifests of the referrers, each once, the likely ones first, so that a flood of others pushes none of these out.
async fn fetch_referrers(
    client: &Client,
    repository: &Repository,
    listed: impl Iterator<Item = Descriptor>,
    discovery: &mut Discovery,
) -> Vec<Arc<Manifest>> {
    let mut seen = BTreeSet::new();
    let mut listed: Vec<_> = listed
        .filter(|descriptor| seen.insert(descriptor.digest.clone()))
        .collect();
    listed.sort_by_key(|descriptor| !is_likely(descriptor));
    if listed.len() > MAX_REFERRERS {
        let what = format!("the number of referrers in `{repository}`");
        discovery.skip(ArtifactError::TooLarge {
            what,
            limit: MAX_REFERRERS,
        });
        listed.truncate(MAX_REFERRERS);
    }
    let fetched: Vec<_> = stream::iter(listed)
        .map(async |descriptor| client.manifest(repository, &descriptor.digest).await)
        .buffered(PARALLEL)
        .collect()
        .await;
    // A listed referrer that is gone is not absence of signatures: something was there.
    let (found, gone): (Vec<_>, Vec<_>) = fetched.into_iter().partition(Result::is_ok);
    discovery
        .skipped
        .extend(gone.into_iter().filter_map(Result::err));
    found.into_iter().filter_map(Result::ok).collect()
}

/// What an index entry says it is decides the order only: registries fill it with the empty type, or leave it out.
fn is_likely(descriptor: &Descriptor) -> bool {
    let artifact_type = descriptor.artifact_type.as_deref().unwrap_or_default();
    artifact_type.is_empty()
        || artifact_type.starts_with(BUNDLE_TYPE_PREFIX)
        || artifact_type.starts_with("application/vnd.dev.cosign.")
        || artifact_type == "application/vnd.oci.empty.v1+json"
}

/// The layers of a manifest that hold signatures, by the layer's own media type.
fn signature_layers(manifest: &Manifest, discovery: &mut Discovery) -> Vec<Descriptor> {
    let Manifest::Image(image) = manifest else {
        return Vec::new();
    };
    if is_other_attestation(image) {
        return Vec::new();
    }
    let is_signature = |layer: &&Descriptor| {
        layer.media_type == SIMPLE_SIGNING_TYPE || layer.media_type.starts_with(BUNDLE_TYPE_PREFIX)
    };
    let layers: Vec<_> = image.layers.iter().filter(is_signature).cloned().collect();
    if layers.len() > MAX_SIGNATURE_LAYERS {
        let what = "the number of signature layers in one manifest".to_owned();
        discovery.skip(ArtifactError::TooLarge {
            what,
            limit: MAX_SIGNATURE_LAYERS,
        });
    }
    layers.into_iter().take(MAX_SIGNATURE_LAYERS).collect()
}

/// True for an SBOM or a scan. The annotation is only a hint, and it only spares a download: it can hide a signature, as deleting it can, and forge none.
fn is_other_attestation(image: &Image) -> bool {
    image
        .annotations
        .get(PREDICATE_ANNOTATION)
        .is_some_and(|predicate| predicate != SIGNATURE_PREDICATE)
}

async fn read_layers(
    client: &Client,
    repository: &Repository,
    layers: Vec<Descriptor>,
    discovery: &mut Discovery,
) {
    let layers = within_budget(layers, discovery);
    let read: Vec<_> = stream::iter(layers)
        .map(async |layer| read_layer(client, repository, &layer).await)
        .buffered(PARALLEL)
        .collect()
        .await;
    for piece in read {
        match piece {
            Ok(evidence) => discovery.evidence.push(evidence),
            Err(error) => discovery.skip(error),
        }
    }
}

/// Leaves out layers that are too large by themselves, and what goes over the limits of all together.
fn within_budget(layers: Vec<Descriptor>, discovery: &mut Discovery) -> Vec<Descriptor> {
    let mut total = 0_u64;
    let mut kept: Vec<Descriptor> = Vec::new();
    for layer in layers {
        let fits = u64::try_from(MAX_EVIDENCE_BYTES).is_ok_and(|max| layer.size <= max);
        total = total.saturating_add(if fits { layer.size } else { 0 });
        if fits && total <= MAX_EVIDENCE_TOTAL && kept.len() < MAX_PIECES {
            kept.push(layer);
        } else {
            let what = format!(
                "signature `{}`, in bytes and with those before it,",
                layer.digest
            );
            discovery.skip(ArtifactError::TooLarge {
                what,
                limit: MAX_EVIDENCE_BYTES,
            });
        }
    }
    kept
}

async fn read_layer(
    client: &Client,
    repository: &Repository,
    layer: &Descriptor,
) -> Result<Evidence, ArtifactError> {
    let what = || format!("signature `{repository}@{}`", layer.digest);
    let limit = usize::try_from(layer.size).unwrap_or(MAX_EVIDENCE_BYTES);
    let blob = async || {
        client
            .blob(repository, &layer.digest, limit)
            .await
            .map(|bytes| bytes.to_vec())
    };
    if layer.media_type != SIMPLE_SIGNING_TYPE {
        return Ok(Evidence::SigstoreBundle {
            json: blob().await?,
        });
    }
    let signature =
        signature_of(layer).map_err(|source| ArtifactError::malformed(what(), source))?;
    Ok(Evidence::SimpleSigning {
        payload: blob().await?,
        signature,
    })
}

fn signature_of(layer: &Descriptor) -> Result<Vec<u8>, InvalidAnswer> {
    let signature =
        layer
            .annotations
            .get(SIGNATURE_ANNOTATION)
            .ok_or(InvalidAnswer::NoSignature {
                annotation: SIGNATURE_ANNOTATION,
            })?;
    STANDARD
        .decode(signature)
        .map_err(|source| InvalidAnswer::SignatureNotBase64 { source })
}
