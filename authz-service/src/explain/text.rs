//! An explanation as lines for people.

use std::fmt::Write as _;

use policy::rule::RegistryAction;

use super::{Explanation, ReasonText};
use crate::decide::{Link, Outcome};
use crate::question::Question;
use crate::record::{DecisionRecord, time};
use crate::target::{Resource, ServiceCall, Target};

/// The whole explanation.
pub(super) fn text(explanation: &Explanation) -> String {
    let Explanation {
        record,
        broken: _,
        reason,
        cause,
        refusals,
        next,
    } = explanation;
    let mut out = String::new();
    row(&mut out, "decision", &record.id);
    row(&mut out, "at", &time::text(record.at));
    row(&mut out, "verdict", &verdict(record));
    for (name, reason) in [("means", reason), ("beneath", cause)] {
        if let Some(ReasonText {
            code,
            meaning,
            fixed_by,
        }) = reason
        {
            row(
                &mut out,
                name,
                &format!("{code}: {meaning} Fixed by: {fixed_by}."),
            );
        }
    }
    if let Some(question) = &record.question {
        row(&mut out, "caller", &caller(question));
        row(
            &mut out,
            "target",
            &question
                .target
                .known()
                .map_or_else(|| "not known".to_owned(), target),
        );
        artifact(&mut out, question);
    }
    if let Some(request) = &record.request {
        row(
            &mut out,
            "request",
            &format!("{} {}{}", request.method, request.host, request.path),
        );
    }
    if let Some(pinned) = &record.pinned {
        row(&mut out, "pinned", pinned);
    }
    row(
        &mut out,
        "decided by",
        &format!(
            "generation {}, policy {}, asked by {}",
            record.generation, record.policy, record.proxy
        ),
    );
    links(&mut out, record);
    for refusal in refusals {
        let wanted = refusal
            .wanted
            .as_ref()
            .map_or("an identity", |wanted| wanted.as_str());
        let digests = refusal
            .digests
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        let line = format!(
            "{} refused {wanted} to workload `{}` at {}: {}: {} [{digests}]",
            refusal.node,
            refusal.workload,
            time::text(refusal.at),
            refusal.reason,
            refusal.detail,
        );
        row(&mut out, "agent", &line);
    }
    for step in next {
        row(&mut out, "next", step);
    }
    out
}

/// A record as one line.
pub(super) fn line(record: &DecisionRecord) -> String {
    let question = record.question.as_ref();
    let caller = question.and_then(|question| question.caller.known());
    let caller = caller.map_or_else(|| "-".to_owned(), |caller| caller.spiffe_id.to_string());
    let target = match (
        question.and_then(|question| question.target.known()),
        &record.request,
    ) {
        (Some(target), _) => self::target(target),
        (None, Some(request)) => format!("{} {}{}", request.method, request.host, request.path),
        (None, None) => "-".to_owned(),
    };
    format!(
        "{} {} {} {caller} {target}",
        time::text(record.at),
        record.id,
        verdict(record)
    )
}

fn verdict(record: &DecisionRecord) -> String {
    let mut verdict = record.decision.as_str().to_owned();
    for part in [record.reason, record.cause].into_iter().flatten() {
        verdict.push(' ');
        verdict.push_str(part.code());
    }
    if let Some(rule) = &record.rule {
        verdict.push_str(", rule ");
        verdict.push_str(rule);
    }
    verdict
}

fn caller(question: &Question) -> String {
    question.caller.known().map_or_else(
        || "not known".to_owned(),
        |caller| {
            format!(
                "{} with key {} (serial {})",
                caller.spiffe_id, caller.key, caller.serial
            )
        },
    )
}

pub(super) fn target(target: &Target) -> String {
    match target {
        Target::Service(ServiceCall { host, method, path }) => format!("{method} {host}{path}"),
        Target::Registry(request) => {
            let action = request.action().map_or("base", RegistryAction::as_str);
            format!("{action} {}/{}", request.host, resource(&request.resource))
        }
    }
}

fn resource(resource: &Resource) -> String {
    match resource {
        Resource::Base => String::new(),
        Resource::Manifest {
            repository,
            reference,
        } => format!("{repository} manifest {reference}"),
        Resource::Blob { repository, digest } => format!("{repository} blob {digest}"),
        Resource::Tags { repository } => format!("{repository} tags"),
        Resource::Referrers { repository, digest } => format!("{repository} referrers of {digest}"),
        Resource::Upload { repository } => format!("{repository} upload"),
        Resource::Mount {
            repository,
            from,
            digest,
        } => format!("{repository} mount of {digest} from {from}"),
    }
}

fn artifact(out: &mut String, question: &Question) {
    let Some(artifact) = question
        .artifact
        .as_ref()
        .and_then(|artifact| artifact.known())
    else {
        return;
    };
    let signers: Vec<_> = artifact
        .vouched
        .signatures
        .iter()
        .map(|found| found.signer.to_string())
        .collect();
    let signed = if signers.is_empty() {
        "no valid signature".to_owned()
    } else {
        format!("signed by {}", signers.join(", "))
    };
    row(
        out,
        "artifact",
        &format!(
            "{} vouched for as {}: {signed}",
            artifact.digest, artifact.vouched.subject
        ),
    );
}

fn links(out: &mut String, record: &DecisionRecord) {
    for step in &record.steps {
        let said = match step.outcome {
            Outcome::Held => "held".to_owned(),
            Outcome::NotReached => "not reached".to_owned(),
            Outcome::Waits => "waits for an artifact".to_owned(),
            Outcome::Broke(reason) => match &record.detail {
                Some(detail) => format!("BROKE {reason}: {detail}"),
                None => format!("BROKE {reason}"),
            },
        };
        row(out, "link", &format!("{:<16} {said}", name(step.link)));
    }
    if record.steps.is_empty()
        && let Some(detail) = &record.detail
    {
        row(out, "detail", detail);
    }
}

/// The link in words.
pub(super) const fn name(link: Link) -> &'static str {
    match link {
        Link::Identity => "identity",
        Link::Target => "target",
        Link::Binding => "binding",
        Link::Rule => "rule",
        Link::CallerArtifact => "caller artifact",
        Link::TargetArtifact => "target artifact",
    }
}

fn row(out: &mut String, name: &str, value: &str) {
    let written = writeln!(out, "{name:<11} {value}");
    debug_assert!(written.is_ok(), "a String takes every write");
}
