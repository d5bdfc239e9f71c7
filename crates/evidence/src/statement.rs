//! in-toto statements: a predicate about subjects that are named by digest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// A statement, as far as it says which digests it is about and of what kind it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    subjects: Vec<Subject>,
    predicate_type: String,
}

/// One thing that a statement is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    digests: Vec<Digest>,
    name: Option<String>,
    annotations: BTreeMap<String, String>,
}

/// Why bytes are not a [`Statement`].
#[derive(Debug, thiserror::Error)]
pub enum InvalidStatement {
    /// It is not the JSON of a statement.
    #[error("not the JSON of an in-toto statement")]
    Json {
        /// Where it stops being one.
        #[source]
        source: serde_json::Error,
    },
    /// `_type` is neither version that we read.
    #[error("the statement type `{got}` is not one that we read")]
    UnknownType {
        /// Its `_type`.
        got: String,
    },
    /// It is about nothing.
    #[error("the statement has no subject")]
    NoSubject,
    /// It is about more than [`MAX_SUBJECTS`].
    #[error("the statement has {got} subjects, more than {MAX_SUBJECTS}")]
    TooManySubjects {
        /// How many.
        got: usize,
    },
}

/// The payload type of a statement in a DSSE envelope.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// The predicate type that says "this artifact is ours", as cosign 3 writes it.
pub const SIGNATURE_PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";

/// The most subjects of one statement.
pub const MAX_SUBJECTS: usize = 1024;

const STATEMENT_TYPES: [&str; 2] = [
    "https://in-toto.io/Statement/v1",
    "https://in-toto.io/Statement/v0.1",
];

impl Statement {
    /// Reads a statement. The caller has verified the signature over `json`.
    ///
    /// # Errors
    /// [`InvalidStatement`], one variant per broken rule.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidStatement> {
        let raw: RawStatement =
            serde_json::from_slice(json).map_err(|source| InvalidStatement::Json { source })?;
        Self::try_from(raw)
    }

    /// The statement that says `subject` is ours: the one cosign makes, with an optional name.
    pub fn signature_of(
        subject: Digest,
        name: Option<String>,
        annotations: BTreeMap<String, String>,
    ) -> Self {
        let subjects = vec![Subject {
            digests: vec![subject],
            name,
            annotations,
        }];
        Self {
            subjects,
            predicate_type: SIGNATURE_PREDICATE.to_owned(),
        }
    }

    /// Each subject that has this digest. Names do not take part.
    // SPEC(in-toto attestation v1, "Statement"): subjects are matched purely by digest.
    pub fn subjects_with<'a>(&'a self, digest: &'a Digest) -> impl Iterator<Item = &'a Subject> {
        self.subjects
            .iter()
            .filter(move |subject| subject.digests.contains(digest))
    }

    /// Everything it is about.
    pub fn subjects(&self) -> &[Subject] {
        &self.subjects
    }

    /// What kind of thing it says.
    pub fn predicate_type(&self) -> &str {
        &self.predicate_type
    }

    /// The statement's JSON, with an empty predicate.
    ///
    /// # Errors
    /// None in practice: it holds only strings.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Written::from(self))
    }
}

impl Subject {
    /// The digests that we can compare.
    pub fn digests(&self) -> &[Digest] {
        &self.digests
    }

    /// The name that the signer gave it.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The signer's annotations, those with a text as value.
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        &self.annotations
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawStatement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<RawSubject>,
    predicate_type: String,
}

#[derive(Deserialize)]
struct RawSubject {
    name: Option<String>,
    digest: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, serde_json::Value>>,
}

impl TryFrom<RawStatement> for Statement {
    type Error = InvalidStatement;

    fn try_from(raw: RawStatement) -> Result<Self, InvalidStatement> {
        let RawStatement {
            kind,
            subject,
            predicate_type,
        } = raw;
        if !STATEMENT_TYPES.contains(&kind.as_str()) {
            return Err(InvalidStatement::UnknownType { got: kind });
        }
        match subject.len() {
            0 => Err(InvalidStatement::NoSubject),
            got if got > MAX_SUBJECTS => Err(InvalidStatement::TooManySubjects { got }),
            _ => Ok(Self {
                subjects: subject.into_iter().map(Subject::from).collect(),
                predicate_type,
            }),
        }
    }
}

impl From<RawSubject> for Subject {
    /// A digest of an algorithm we do not know is one we cannot match, not an error.
    fn from(raw: RawSubject) -> Self {
        let RawSubject {
            name,
            digest,
            annotations,
        } = raw;
        let digests = digest
            .unwrap_or_default()
            .into_iter()
            .filter_map(|(algorithm, hex)| Digest::parse(&format!("{algorithm}:{hex}")).ok())
            .collect();
        let name = name.filter(|name| !name.is_empty());
        Self {
            digests,
            name,
            annotations: texts(annotations.unwrap_or_default()),
        }
    }
}

/// The entries whose value is a text; nothing else can be claimed.
pub(crate) fn texts(values: BTreeMap<String, serde_json::Value>) -> BTreeMap<String, String> {
    values
        .into_iter()
        .filter_map(|(key, value)| match value {
            serde_json::Value::String(text) => Some((key, text)),
            serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::Array(_)
            | serde_json::Value::Object(_) => None,
        })
        .collect()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    #[serde(rename = "_type")]
    kind: &'static str,
    subject: Vec<WrittenSubject<'a>>,
    predicate_type: &'a str,
    predicate: Empty,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
struct WrittenSubject<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    digest: BTreeMap<&'static str, &'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

impl<'a> From<&'a Statement> for Written<'a> {
    fn from(statement: &'a Statement) -> Self {
        let [kind, _] = STATEMENT_TYPES;
        let subject = statement
            .subjects
            .iter()
            .map(WrittenSubject::from)
            .collect();
        Self {
            kind,
            subject,
            predicate_type: &statement.predicate_type,
            predicate: Empty {},
        }
    }
}

impl<'a> From<&'a Subject> for WrittenSubject<'a> {
    fn from(subject: &'a Subject) -> Self {
        let Subject {
            digests,
            name,
            annotations,
        } = subject;
        let digest = digests
            .iter()
            .map(|digest| (digest.algorithm().name(), digest.hex()))
            .collect();
        Self {
            name: name.as_deref(),
            digest,
            annotations,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(kind: &str, subjects: &str) -> Result<Statement, InvalidStatement> {
        Statement::parse(format!(r#"{{"_type":"{kind}","subject":[{subjects}],"predicateType":"p","predicate":{{}}}}"#).as_bytes())
    }

    #[test]
    fn a_statement_is_read_back_with_name_and_annotations() {
        let annotations = BTreeMap::from([("product".to_owned(), "payments".to_owned())]);
        let subject = Digest::sha256_of(b"image");
        let statement = Statement::signature_of(
            subject.clone(),
            Some("payments".to_owned()),
            annotations.clone(),
        );
        let read = Statement::parse(&statement.to_json().unwrap()).unwrap();
        assert_eq!(read, statement);
        let found: Vec<_> = read.subjects_with(&subject).collect();
        assert_eq!(found[0].name(), Some("payments"));
        assert_eq!(found[0].annotations(), &annotations);
        assert_eq!(read.subjects_with(&Digest::sha256_of(b"other")).count(), 0);
    }

    #[test]
    fn both_versions_are_read_and_no_other() {
        let subject = format!(
            r#"{{"digest":{{"sha256":"{}","gitCommit":"abc"}}}}"#,
            "a".repeat(64)
        );
        for kind in STATEMENT_TYPES {
            assert_eq!(
                parse(kind, &subject).unwrap().subjects()[0].digests().len(),
                1
            );
        }
        assert!(matches!(
            parse("https://in-toto.io/Statement/v2", &subject),
            Err(InvalidStatement::UnknownType { .. })
        ));
    }

    #[test]
    fn a_statement_about_nothing_or_too_much_is_refused() {
        let [v1, _] = STATEMENT_TYPES;
        assert!(matches!(parse(v1, ""), Err(InvalidStatement::NoSubject)));
        let many = vec!["{}"; MAX_SUBJECTS + 1].join(",");
        assert!(matches!(
            parse(v1, &many),
            Err(InvalidStatement::TooManySubjects { got: 1025 })
        ));
        assert!(matches!(
            Statement::parse(b"{"),
            Err(InvalidStatement::Json { .. })
        ));
    }

    #[test]
    fn only_texts_are_annotations() {
        let [v1, _] = STATEMENT_TYPES;
        let read = parse(
            v1,
            r#"{"annotations":{"a":"x","b":1,"c":null,"d":{"a":"y"}}}"#,
        )
        .unwrap();
        assert_eq!(
            read.subjects()[0].annotations(),
            &BTreeMap::from([("a".to_owned(), "x".to_owned())])
        );
    }
}
