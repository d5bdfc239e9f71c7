//! From raw evidence to what it proves.

use std::error::Error;

use identity::public_key::{PublicKey, SpkiHash};

use crate::{
    digest::Digest,
    dsse::{Envelope, EnvelopeSignature},
    form::{Evidence, MAX_EVIDENCE_BYTES},
    signer::SignerSet,
    sigstore_bundle::{Content, KeyedBundle},
    simple_signing::Payload,
    statement::{PAYLOAD_TYPE, SIGNATURE_PREDICATE, Statement, Subject},
    vouched::{Cause, Claims, Format, Rejection, Signature, Vouched},
};

#[cfg(test)]
mod tests;

/// The most pieces of evidence that are looked at for one digest.
pub const MAX_PIECES: usize = 128;

/// Verifies every piece of `evidence` about `subject` against the keys in `signers`.
///
/// Total: it never fails. Each piece stands alone, so junk beside a good signature takes nothing from it, and junk alone leaves its cause.
/// A well-signed statement that is no signature (an SBOM, a scan) says nothing about whose the artifact is and leaves no trace here.
pub fn verify(subject: &Digest, evidence: &[Evidence], signers: &SignerSet) -> Vouched {
    let mut vouched = Vouched {
        subject: subject.clone(),
        signatures: Vec::new(),
        rejected: Vec::new(),
    };
    for piece in evidence.iter().take(MAX_PIECES) {
        match judge(subject, piece, signers) {
            Ok(signatures) => vouched.signatures.extend(signatures),
            Err(rejection) => vouched.rejected.push(rejection),
        }
    }
    if evidence.len() > MAX_PIECES {
        let detail = format!(
            "{} pieces of evidence, only the first {MAX_PIECES} were looked at",
            evidence.len()
        );
        vouched.rejected.push(Rejection {
            cause: Cause::Malformed,
            detail,
        });
    }
    vouched
}

/// 1. The piece is small enough to read. 2. Some key may vouch at all. 3. Its form decides the rest.
fn judge(
    subject: &Digest,
    piece: &Evidence,
    signers: &SignerSet,
) -> Result<Vec<Signature>, Rejection> {
    if piece.size() > MAX_EVIDENCE_BYTES {
        return Err(rejected(
            Cause::Malformed,
            "the evidence is too large to read",
        ));
    }
    if signers.is_empty() {
        return Err(rejected(
            Cause::SignerUntrusted,
            "no key is trusted to sign",
        ));
    }
    match piece {
        Evidence::SimpleSigning { payload, signature } => {
            by_payload(subject, payload, signature, signers)
        }
        Evidence::SigstoreBundle { json } => by_bundle(subject, json, signers),
        Evidence::Dsse { envelope } => by_envelope(subject, envelope, signers),
    }
}

/// 1. A trusted key made the signature over the payload's bytes. 2. The payload reads. 3. It is about the subject.
///
/// Nothing in this form names the key, so a signature by a stranger and an altered one look the same.
fn by_payload(
    subject: &Digest,
    payload: &[u8],
    signature: &[u8],
    signers: &SignerSet,
) -> Result<Vec<Signature>, Rejection> {
    let signer = signers
        .iter()
        .find(|(_, key)| key.verify(payload, signature).is_ok())
        .map(|(spki, _)| *spki)
        .ok_or_else(|| altered_or_foreign("the payload's signature"))?;
    let payload = Payload::parse(payload).map_err(malformed)?;
    if payload.digest() != subject {
        return Err(other_subject(&payload.digest().to_string()));
    }
    Ok(vec![Signature {
        signer,
        claims: payload.into_claims(),
        format: Format::SimpleSigning,
    }])
}

/// 1. It is a keyed bundle. 2. The key it hints at is trusted. 3. That key, or without a hint any trusted key, made the signature.
/// 4. What it signs is about the subject.
fn by_bundle(
    subject: &Digest,
    json: &[u8],
    signers: &SignerSet,
) -> Result<Vec<Signature>, Rejection> {
    let bundle = KeyedBundle::parse(json).map_err(malformed)?;
    let candidates = candidates(&bundle, signers)?;
    let made_by = |signed: &dyn Fn(&PublicKey) -> bool| {
        candidates
            .iter()
            .find(|(_, key)| signed(key))
            .map(|(spki, _)| *spki)
            .ok_or_else(|| altered_or_foreign("the bundle's signature"))
    };
    match bundle.content() {
        Content::Envelope(envelope) => {
            let signer = made_by(&|key| envelope.signed_by(key))?;
            by_statement(
                subject,
                envelope.payload_type(),
                envelope.payload(),
                &[signer],
                Format::SigstoreBundle,
            )
        }
        Content::Message(message) => {
            let signer = made_by(&|key| message.signed_by(key))?;
            if message.digest() != subject {
                return Err(other_subject(&message.digest().to_string()));
            }
            Ok(vec![Signature {
                signer,
                claims: Claims::default(),
                format: Format::SigstoreBundle,
            }])
        }
    }
}

fn candidates(
    bundle: &KeyedBundle,
    signers: &SignerSet,
) -> Result<Vec<(SpkiHash, PublicKey)>, Rejection> {
    let Some(hinted) = bundle.hinted_key() else {
        return Ok(signers
            .iter()
            .map(|(spki, key)| (*spki, key.clone()))
            .collect());
    };
    let key = signers
        .get(&hinted)
        .ok_or_else(|| untrusted(&hinted.to_string()))?;
    Ok(vec![(hinted, key.clone())])
}

/// 1. It is an envelope. 2. At least one trusted key signed it. 3. Its statement is about the subject.
fn by_envelope(
    subject: &Digest,
    json: &[u8],
    signers: &SignerSet,
) -> Result<Vec<Signature>, Rejection> {
    let envelope = Envelope::parse(json).map_err(malformed)?;
    let made_by: Vec<_> = signers
        .iter()
        .filter(|(_, key)| envelope.verify(key).is_ok())
        .map(|(spki, _)| *spki)
        .collect();
    if made_by.is_empty() {
        return Err(unsigned_envelope(&envelope, signers));
    }
    by_statement(
        subject,
        envelope.payload_type(),
        envelope.payload(),
        &made_by,
        Format::Dsse,
    )
}

/// Only the cause is read from the key ids: a foreign one says that a stranger signed, ours that the bytes were altered.
fn unsigned_envelope(envelope: &Envelope, signers: &SignerSet) -> Rejection {
    let foreign = envelope
        .signatures()
        .iter()
        .map(EnvelopeSignature::keyid)
        .find(|keyid| {
            let ours = SpkiHash::from_hex(keyid).is_ok_and(|spki| signers.get(&spki).is_some());
            !keyid.is_empty() && !ours
        });
    foreign.map_or_else(|| altered_or_foreign("the envelope's signature"), untrusted)
}

/// The signatures of `signers` over a statement: one for each subject that has the digest, with that subject's own claims.
fn by_statement(
    subject: &Digest,
    payload_type: &str,
    payload: &[u8],
    signers: &[SpkiHash],
    format: Format,
) -> Result<Vec<Signature>, Rejection> {
    if payload_type != PAYLOAD_TYPE {
        return Err(rejected(
            Cause::Malformed,
            &format!("the signed payload is `{payload_type}`, not a statement"),
        ));
    }
    let statement = Statement::parse(payload).map_err(malformed)?;
    let claims: Vec<_> = statement.subjects_with(subject).map(claims_of).collect();
    if claims.is_empty() {
        return Err(other_subject(&first_digest(&statement)));
    }
    if statement.predicate_type() != SIGNATURE_PREDICATE {
        return Ok(Vec::new());
    }
    let signature = |signer: &SpkiHash, claims: &Claims| Signature {
        signer: *signer,
        claims: claims.clone(),
        format,
    };
    Ok(signers
        .iter()
        .flat_map(|signer| claims.iter().map(|claims| signature(signer, claims)))
        .collect())
}

fn claims_of(subject: &Subject) -> Claims {
    Claims {
        repository: None,
        names: subject.name().map(str::to_owned).into_iter().collect(),
        annotations: subject.annotations().clone(),
    }
}

fn first_digest(statement: &Statement) -> String {
    let first = statement
        .subjects()
        .iter()
        .flat_map(Subject::digests)
        .next();
    first.map_or_else(|| "no digest that we know".to_owned(), Digest::to_string)
}

fn malformed(error: impl Error) -> Rejection {
    let mut detail = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        detail = format!("{detail}: {cause}");
        source = cause.source();
    }
    Rejection {
        cause: Cause::Malformed,
        detail,
    }
}

fn altered_or_foreign(what: &str) -> Rejection {
    rejected(
        Cause::SignatureInvalid,
        &format!("{what} verifies with no trusted key: altered, or signed by another key"),
    )
}

fn untrusted(key: &str) -> Rejection {
    rejected(
        Cause::SignerUntrusted,
        &format!("it names the key `{key}`, which is not trusted"),
    )
}

fn other_subject(digest: &str) -> Rejection {
    rejected(Cause::SubjectMismatch, &format!("it is about {digest}"))
}

fn rejected(cause: Cause, detail: &str) -> Rejection {
    Rejection {
        cause,
        detail: detail.to_owned(),
    }
}
