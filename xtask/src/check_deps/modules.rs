//! The arrows between modules, held by looking for names in the code.

use std::path::Path;

use super::finding::{Finding, Rule};
use super::rust_source::RustSource;

const CORE: &[&str] = &["crates/identity", "crates/evidence", "crates/policy"];

/// Names that no core crate may use.
const NOT_IN_CORE: &[&str] = &["tokio", "tonic", "tracing", "serde_yaml", "SystemClock"];
/// Paths that no core crate may use.
const PATHS_NOT_IN_CORE: &[(&str, &str)] = &[
    ("std", "net"),
    ("std", "fs"),
    ("SystemTime", "now"),
    ("Instant", "now"),
];

/// Crates of generated types.
const GENERATED: &[&str] = &["envoy_types", "countersign_proto", "spiffe"];
/// Names that no pure module may use.
const NOT_IN_PURE: &[&str] = &["tokio", "tonic", "tracing", "Clock"];

/// The rules of one program.
struct Program {
    directory: &'static str,
    /// Modules that may name generated types: only edges do.
    edges: &'static [&'static str],
    /// Modules that are pure, but for those listed beside them.
    pure: &'static [(&'static str, &'static [&'static str])],
}

const PROGRAMS: &[Program] = &[
    Program {
        directory: AUTHZ,
        edges: &["ext_authz", "feed", "admin"],
        pure: &[
            ("caller", &[]),
            ("target", &[]),
            ("question", &[]),
            ("decide", &[]),
            ("snapshot", &["snapshot/writer"]),
        ],
    },
    Program {
        directory: AGENT,
        edges: &["feed", "handout", "issuer", "exec", "admin"],
        pure: &[
            ("entitle", &[]),
            ("rotation/plan", &[]),
            ("handout/sds/state", &[]),
        ],
    },
];

const AUTHZ: &str = "authz-service";
const AGENT: &str = "cert-agent";

/// The only maker of a permit.
const PERMIT_MAKER: &str = "decide";
/// Where a private key may be named in cert-agent: workloads' keys live in the first two; the issuer has the CA's own key and proves
/// possession; `feed/own` holds the agent's own.
const KEY_ROOMS: &[&str] = &["rotation/worker", "handout", "issuer", "feed/own"];

/// Checks core crates and both programs.
pub(super) fn check(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for directory in CORE {
        for source in RustSource::all_below(&root.join(directory).join("src"))? {
            findings.extend(core_names(directory, &source));
        }
    }
    for program in PROGRAMS {
        let sources = RustSource::all_below(&root.join(program.directory).join("src"))?;
        findings.extend(missing_modules(program, &sources));
        findings.extend(
            sources
                .iter()
                .flat_map(|source| program_names(program, source)),
        );
    }
    Ok(findings)
}

fn core_names(directory: &str, source: &RustSource) -> Vec<Finding> {
    let words = NOT_IN_CORE
        .iter()
        .filter_map(|word| Some((source.line_of_word(word)?, (*word).to_owned())));
    let paths = PATHS_NOT_IN_CORE.iter().filter_map(|(parent, child)| {
        Some((
            source.line_of_path(parent, child)?,
            format!("{parent}::{child}"),
        ))
    });
    words
        .chain(paths)
        .map(|(line, name)| {
            Rule::CoreName.at(
                place(directory, source, line),
                format!("a core crate may not name `{name}`"),
            )
        })
        .collect()
}

fn program_names(program: &Program, source: &RustSource) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !program.edges.iter().any(|edge| source.is_within(edge)) {
        findings.extend(GENERATED.iter().filter_map(|name| {
            let line = source.line_of_root(name)?;
            Some(Rule::GeneratedTypes.at(
                place(program.directory, source, line),
                format!("only an edge may name `{name}`"),
            ))
        }));
    }
    if is_pure(program, source) {
        findings.extend(NOT_IN_PURE.iter().filter_map(|name| {
            let line = source.line_of_word(name)?;
            Some(Rule::PureName.at(
                place(program.directory, source, line),
                format!("a pure module may not name `{name}`"),
            ))
        }));
    }
    findings.extend(permit_made(program, source));
    findings.extend(workload_key(program, source));
    findings
}

fn is_pure(program: &Program, source: &RustSource) -> bool {
    program.pure.iter().any(|(module, except)| {
        source.is_within(module) && !except.iter().any(|excepted| source.is_within(excepted))
    })
}

fn permit_made(program: &Program, source: &RustSource) -> Option<Finding> {
    if program.directory != AUTHZ || source.is_within(PERMIT_MAKER) {
        return None;
    }
    let line = source.line_of_construction("Permit")?;
    Some(Rule::PermitMaker.at(
        place(program.directory, source, line),
        "only `decide` makes a `Permit`",
    ))
}

fn workload_key(program: &Program, source: &RustSource) -> Option<Finding> {
    if program.directory != AGENT || KEY_ROOMS.iter().any(|room| source.is_within(room)) {
        return None;
    }
    let line = source.line_of_word("PrivateKey")?;
    let message = format!("only {} may name a private key", KEY_ROOMS.join(", "));
    Some(Rule::WorkloadKey.at(place(program.directory, source, line), message))
}

/// A rule about a module that was renamed would hold nothing and say nothing.
fn missing_modules(program: &Program, sources: &[RustSource]) -> Vec<Finding> {
    let pure = program
        .pure
        .iter()
        .flat_map(|(module, except)| std::iter::once(module).chain(*except));
    let rooms: &[&str] = if program.directory == AGENT {
        KEY_ROOMS
    } else {
        &[PERMIT_MAKER]
    };
    program
        .edges
        .iter()
        .chain(pure)
        .chain(rooms)
        .filter(|module| !sources.iter().any(|source| source.is_within(module)))
        .map(|module| {
            Rule::MissingModule.at(
                program.directory,
                format!("no module `{module}`; mend xtask/src/check_deps/modules.rs"),
            )
        })
        .collect()
}

fn place(directory: &str, source: &RustSource, line: usize) -> String {
    format!("{directory}/src/{}.rs:{line}", source.module)
}
