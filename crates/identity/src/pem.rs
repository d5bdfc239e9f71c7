//! Owns PEM: labelled base64 sections, read strictly and written.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use zeroize::Zeroizing;

/// Largest PEM text that is read, in bytes. A trust bundle of a hundred roots is a tenth of it.
pub(crate) const MAX_PEM_BYTES: usize = 1 << 20;

const LINE_LENGTH: usize = 64;

/// Why some text is not the PEM that was expected.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPem {
    /// It is longer than a megabyte.
    #[error("it is longer than {MAX_PEM_BYTES} bytes")]
    TooLarge,
    /// A section has no end, no label or no base64.
    #[error("a section is malformed")]
    Malformed {
        /// What the PEM reader said.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// No section has the label that was expected.
    #[error("it has no `{label}` section")]
    Missing {
        /// The label that was expected.
        label: &'static str,
    },
    /// More than one section has a label that only one may have.
    #[error("it has more than one `{label}` section")]
    Several {
        /// The label in question.
        label: &'static str,
    },
    /// A section of another kind stands among the expected ones.
    #[error("it has a section that is not `{label}`")]
    Unexpected {
        /// The label that was expected.
        label: &'static str,
    },
}

/// The kinds of section that this crate reads.
#[derive(Clone, Copy)]
pub(crate) struct Section {
    pub(crate) label: &'static str,
    kind: SectionKind,
}

pub(crate) const CERTIFICATE: Section = Section {
    label: "CERTIFICATE",
    kind: SectionKind::Certificate,
};
pub(crate) const PUBLIC_KEY: Section = Section {
    label: "PUBLIC KEY",
    kind: SectionKind::PublicKey,
};
pub(crate) const PRIVATE_KEY: Section = Section {
    label: "PRIVATE KEY",
    kind: SectionKind::PrivateKey,
};

/// Every section of `text`, all of which must be of the one kind.
pub(crate) fn sections(
    section: Section,
    text: &[u8],
) -> Result<Vec<Zeroizing<Vec<u8>>>, InvalidPem> {
    if text.len() > MAX_PEM_BYTES {
        return Err(InvalidPem::TooLarge);
    }
    let mut found = Vec::new();
    for next in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        let (kind, der) = next.map_err(|source| InvalidPem::Malformed { source })?;
        let der = Zeroizing::new(der);
        if kind != section.kind {
            return Err(InvalidPem::Unexpected {
                label: section.label,
            });
        }
        found.push(der);
    }
    if found.is_empty() {
        return Err(InvalidPem::Missing {
            label: section.label,
        });
    }
    Ok(found)
}

/// The only section of `text`.
pub(crate) fn only_section(
    section: Section,
    text: &[u8],
) -> Result<Zeroizing<Vec<u8>>, InvalidPem> {
    let mut found = sections(section, text)?.into_iter();
    match (found.next(), found.next()) {
        (Some(der), None) => Ok(der),
        (Some(_), Some(_)) => Err(InvalidPem::Several {
            label: section.label,
        }),
        (None, _) => Err(InvalidPem::Missing {
            label: section.label,
        }),
    }
}

/// One section as text. The base64 in between is wiped, since it may be a key.
pub(crate) fn write(section: Section, der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(BASE64_STANDARD.encode(der));
    // Reserved at once, so that growing leaves no copy behind.
    let capacity = body.len() + body.len() / LINE_LENGTH + 2 * section.label.len() + 64;
    let mut text = Zeroizing::new(String::with_capacity(capacity));
    text.push_str("-----BEGIN ");
    text.push_str(section.label);
    text.push_str("-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at_checked(LINE_LENGTH).unwrap_or((rest, ""));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END ");
    text.push_str(section.label);
    text.push_str("-----\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";

    #[test]
    fn written_section_reads_back() {
        let der: Vec<u8> = (0..=255).collect();
        let text = write(CERTIFICATE, &der);
        assert!(text.lines().all(|line| line.len() <= LINE_LENGTH));
        assert_eq!(
            only_section(CERTIFICATE, text.as_bytes())
                .unwrap()
                .as_slice(),
            der
        );
    }

    #[test]
    fn comments_around_sections_are_ignored() {
        let text = format!("subject=CN = root\n{ONE}\nthe end\n");
        assert_eq!(sections(CERTIFICATE, text.as_bytes()).unwrap().len(), 1);
    }

    #[test]
    fn oversized_text_is_refused() {
        let text = vec![b'\n'; MAX_PEM_BYTES + 1];
        assert!(matches!(
            sections(CERTIFICATE, &text),
            Err(InvalidPem::TooLarge)
        ));
    }

    #[test]
    fn unended_section_is_malformed() {
        let text = "-----BEGIN CERTIFICATE-----\nAQID\n";
        assert!(matches!(
            sections(CERTIFICATE, text.as_bytes()),
            Err(InvalidPem::Malformed { .. })
        ));
    }

    #[test]
    fn text_without_sections_is_missing_one() {
        assert!(matches!(
            sections(CERTIFICATE, b"hello"),
            Err(InvalidPem::Missing { .. })
        ));
    }

    #[test]
    fn second_section_is_refused_where_one_is_expected() {
        let text = format!("{ONE}{ONE}");
        assert!(matches!(
            only_section(CERTIFICATE, text.as_bytes()),
            Err(InvalidPem::Several { .. })
        ));
    }

    #[test]
    fn key_among_certificates_is_refused() {
        let text = format!("{ONE}-----BEGIN PRIVATE KEY-----\nAQID\n-----END PRIVATE KEY-----\n");
        assert!(matches!(
            sections(CERTIFICATE, text.as_bytes()),
            Err(InvalidPem::Unexpected { .. })
        ));
    }
}
