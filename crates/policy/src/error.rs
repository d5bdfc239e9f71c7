//! What is wrong with a policy directory, each error at its place.

use std::fmt;

use crate::grant::{MAX_TTL, MIN_TTL};
use crate::source::{MAX_FILE_BYTES, MAX_FILES};

/// One error at its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{file}:{line}:{column}: {problem}")]
pub struct PolicyError {
    /// The file, relative to the policy directory; `.` for the directory itself.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// The column in characters, from 1.
    pub column: u64,
    /// What is wrong.
    pub problem: Problem,
}

impl PolicyError {
    /// What is wrong, in words and without the place.
    pub fn message(&self) -> String {
        self.problem.to_string()
    }
}

/// Every error of a policy directory, in order of file, line and column. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyErrors(Vec<PolicyError>);

impl PolicyErrors {
    /// `None` if there are no errors.
    pub(crate) fn from_found(mut found: Vec<PolicyError>) -> Option<Self> {
        found.sort();
        found.dedup();
        (!found.is_empty()).then_some(Self(found))
    }

    /// The errors.
    pub fn iter(&self) -> impl Iterator<Item = &PolicyError> {
        self.0.iter()
    }
}

impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(index, error)| {
            let line_break = if index == 0 { "" } else { "\n" };
            write!(f, "{line_break}{error}")
        })
    }
}

impl std::error::Error for PolicyErrors {}

/// What is wrong with a policy, one variant per rule that was broken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Problem {
    /// The directory holds no policy document. An empty mount must not become an empty policy.
    #[error("the policy directory holds no policy document")]
    NoDocuments,
    /// The directory holds too many files.
    #[error("the policy directory holds more than {MAX_FILES} files")]
    TooManyFiles,
    /// A file is too large.
    #[error("the file is larger than {MAX_FILE_BYTES} bytes")]
    FileTooLarge,
    /// A document is not UTF-8.
    #[error("the file is not UTF-8")]
    NotUtf8,
    /// The YAML parser refused the text.
    #[error("{message}")]
    Syntax {
        /// The parser's words.
        message: String,
    },
    /// A key that means nothing here.
    #[error("unknown key `{key}`, expected one of {expected}")]
    UnknownKey {
        /// The key.
        key: String,
        /// The keys that mean something here.
        expected: String,
    },
    /// A key that stands twice in one mapping.
    #[error("key `{key}` stands twice")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A key without a value.
    #[error("`{key}` is blank; give it a value or leave the key out")]
    Blank {
        /// The key.
        key: String,
    },
    /// A key that must be there is not.
    #[error("`{key}` is missing")]
    Missing {
        /// The key.
        key: &'static str,
    },
    /// A value of another shape.
    #[error("expected {expected}, found {found}")]
    Shape {
        /// The shape that belongs here.
        expected: &'static str,
        /// The shape that is here.
        found: &'static str,
    },
    /// A list or mapping without entries.
    #[error("it is empty; give it an entry or leave the key out")]
    EmptyList,
    /// A text without characters.
    #[error("the text is empty")]
    EmptyText,
    /// A list that holds one value twice.
    #[error("`{value}` stands twice in the list")]
    DuplicateEntry {
        /// The value.
        value: String,
    },
    /// A word that means nothing here.
    #[error("unknown value `{value}`, expected one of {expected}")]
    UnknownValue {
        /// The word.
        value: String,
        /// The words that mean something here.
        expected: String,
    },
    /// A value that its own type refused.
    #[error("{message}")]
    InvalidValue {
        /// Why it was refused.
        message: String,
    },
    /// A name that could not be part of a path or a metric.
    #[error(
        "name `{name}` must be 1 to 63 lower-case letters, digits and hyphens, and begin and end with a letter or digit"
    )]
    InvalidName {
        /// The name.
        name: String,
    },
    /// `spec` stands before `kind`.
    #[error("`kind` must come before `spec`")]
    KindAfterSpec,
    /// Something of the language that this version does not judge yet. Ignoring it would permit what the operator meant to refuse.
    #[error("not supported yet: {what}")]
    NotSupportedYet {
        /// The part of the language.
        what: &'static str,
    },
    /// Two things of one kind have one name.
    #[error("the name `{name}` is already taken at {first}")]
    DuplicateName {
        /// The name.
        name: String,
        /// The place of the first.
        first: String,
    },
    /// A requirement names no signature policy of the directory.
    #[error("there is no signature policy `{name}`")]
    NoSuchSignaturePolicy {
        /// The name.
        name: String,
    },
    /// `from` names no signer of its signature policy.
    #[error("this signature policy has no signer `{name}`")]
    NoSuchSigner {
        /// The name.
        name: String,
    },
    /// A signer whose signatures nothing counts.
    #[error("signer `{name}` is not in `signatures.from`, so it would never count")]
    UnusedSigner {
        /// The name.
        name: String,
    },
    /// A file that is referred to is not in the directory.
    #[error("there is no file `{path}` in the policy directory")]
    NoSuchFile {
        /// The path.
        path: String,
    },
    /// A key file does not hold a usable public key.
    #[error("`{path}` does not hold a usable public key: {message}")]
    InvalidKey {
        /// The path.
        path: String,
        /// Why it was refused.
        message: String,
    },
    /// Two signers of one policy have one key, so that a threshold could be met by one party.
    #[error("signer `{name}` has the same key as signer `{other}`")]
    SharedKey {
        /// The second signer.
        name: String,
        /// The first signer.
        other: String,
    },
    /// A threshold that every artifact or none would meet.
    #[error(
        "threshold {threshold} must be at least 1 and at most {signers}, the number of signers in `from`"
    )]
    Threshold {
        /// The threshold.
        threshold: u64,
        /// How many signers count.
        signers: usize,
    },
    /// A grant that names a signature policy and nothing else.
    #[error(
        "this would accept any artifact signed under `{signed_by}`; say which with `claims` or `digests`, or say `anySigned: true`"
    )]
    AnySignedUnsaid {
        /// The signature policy.
        signed_by: String,
    },
    /// `anySigned` beside something that narrows.
    #[error("`anySigned` contradicts `claims` and `digests`; leave one out")]
    AnySignedContradicted,
    /// `anySigned: false`.
    #[error("`anySigned` can only be true; leave it out and give `claims` or `digests`")]
    AnySignedFalse,
    /// `anySigned` in a rule, where it would mean nothing.
    #[error("`anySigned` belongs to grants only")]
    AnySignedInRule,
    /// A grant of an identity that only local configuration may give.
    #[error(
        "`{spiffe_id}` is reserved: identities under `/countersign/` come from local configuration"
    )]
    ReservedIdentity {
        /// The identity.
        spiffe_id: String,
    },
    /// A life of SVIDs outside the bounds.
    #[error("`ttl` must be at least {}s and at most {}h", MIN_TTL.as_secs(), MAX_TTL.as_secs() / 3600)]
    TtlOutOfRange,
    /// A permit that does not demand a signed caller.
    #[error("a permit's `from` must have `artifact`")]
    PermitWithoutArtifact,
    /// A permit that does not say for whom.
    #[error("a permit's `from` must have `identities`")]
    PermitWithoutIdentities,
    /// A permit that does not say for what.
    #[error("a permit must have `to`")]
    PermitWithoutTarget,
    /// A permit whose target leaves out a list. In a deny that means any; in a permit it would permit any.
    #[error("a permit's `to` must have `{key}`")]
    PermitWithoutList {
        /// The key of the list.
        key: &'static str,
    },
    /// A permitted pull that does not demand a signed artifact.
    #[error("a permit of `pull` must have `to.registry.artifact`")]
    PullWithoutArtifact,
    /// A requirement that nothing would read.
    #[error("`artifact` is judged on a pull only, and this rule has no `pull`")]
    ArtifactWithoutPull,
    /// A deny by what the pulled artifact is.
    #[error("a deny's `to` takes no `artifact`; what it does not permit is denied already")]
    DenyWithTargetArtifact,
    /// A deny of everything.
    #[error("a deny must have `from` or `to`")]
    DenyWithoutCondition,
    /// A `from` without a condition.
    #[error("`from` has no condition; name identities, an artifact, digests or keys")]
    FromWithoutCondition,
    /// Not exactly one kind of target.
    #[error("`to` must have exactly one of `registry` and `service`")]
    OneTarget,
    /// A rule that can never decide anything.
    #[error("rule `{rule}` can never apply: {effect} `{by}` at {at} covers all of it")]
    Unreachable {
        /// The rule.
        rule: String,
        /// `permit` or `deny`.
        effect: &'static str,
        /// The rule that covers it.
        by: String,
        /// The place of that rule.
        at: String,
    },
}
