//! One thing that may not be.

use std::fmt;

/// One thing that may not be, where it is, and what to do instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) rule: Rule,
    /// A file, with its line where it has one, or a crate.
    pub(super) place: String,
    pub(super) message: String,
}

/// The rule that was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Rule {
    /// A crate of ours uses another that it may not use.
    CrateArrow,
    /// A crate of ours has no row in the table of arrows.
    CrateWithoutRow,
    /// The test kit is a normal dependency of something that ships.
    KitShips,
    /// A core crate depends on a crate that does I/O, runs tasks or logs.
    CoreDependency,
    /// A core crate names something that does I/O, runs tasks, logs or reads a clock.
    CoreName,
    /// A module that is no edge names generated types.
    GeneratedTypes,
    /// A pure module names a runtime, a log or a clock.
    PureName,
    /// A permit is made outside `decide`.
    PermitMaker,
    /// A private key of a workload is named outside its rooms.
    WorkloadKey,
    /// A module of the table does not exist, so that its rule would hold nothing.
    MissingModule,
    /// A crate that may not be compiled in.
    BannedCrate,
    /// A crate from somewhere other than crates.io.
    UnknownSource,
    /// A licence that has not been agreed to.
    Licence,
    /// A crate in two versions, without a reason.
    Duplicate,
    /// A reason for two versions of a crate that has one.
    StaleDuplicate,
    /// A workspace dependency without a comment that says why.
    NoReason,
    /// A crate that names a version or a path of its own.
    NotInherited,
    /// A cargo feature of ours.
    CargoFeature,
    /// An enforcing Envoy configuration that would fail open.
    FailsOpen,
}

impl Rule {
    /// The rule in a word.
    fn as_str(self) -> &'static str {
        match self {
            Self::CrateArrow => "crate-arrow",
            Self::CrateWithoutRow => "crate-without-row",
            Self::KitShips => "kit-ships",
            Self::CoreDependency => "core-dependency",
            Self::CoreName => "core-name",
            Self::GeneratedTypes => "generated-types",
            Self::PureName => "pure-name",
            Self::PermitMaker => "permit-maker",
            Self::WorkloadKey => "workload-key",
            Self::MissingModule => "missing-module",
            Self::BannedCrate => "banned-crate",
            Self::UnknownSource => "unknown-source",
            Self::Licence => "licence",
            Self::Duplicate => "duplicate",
            Self::StaleDuplicate => "stale-duplicate",
            Self::NoReason => "no-reason",
            Self::NotInherited => "not-inherited",
            Self::CargoFeature => "cargo-feature",
            Self::FailsOpen => "fails-open",
        }
    }

    /// The finding of this rule at a place.
    pub(super) fn at(self, place: impl fmt::Display, message: impl Into<String>) -> Finding {
        Finding {
            rule: self,
            place: place.to_string(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}: {}",
            self.place,
            self.rule.as_str(),
            self.message
        )
    }
}
