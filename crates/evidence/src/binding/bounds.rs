//! How much one item of a batch may say, so that what a receiver keeps of it is small.

use super::{Binding, FeedItem, Refusal};

/// The longest name of a workload or a grant.
pub const MAX_NAME_BYTES: usize = 256;

/// The longest code of a reason. Ours have at most forty bytes.
pub const MAX_REASON_BYTES: usize = 64;

/// What is kept of a refusal's detail; the rest is cut.
pub const MAX_DETAIL_BYTES: usize = 512;

/// The digests that are kept of a refusal; the rest is cut.
pub const MAX_REFUSED_DIGESTS: usize = 64;

/// A text that is too long, by its field's name, and its length.
type TooLong = (&'static str, usize);

/// Whether every name is short enough. A name cut short would be another name.
pub(super) fn check(items: &[FeedItem]) -> Result<(), TooLong> {
    items.iter().try_for_each(|item| match item {
        FeedItem::Binding(Binding {
            workload, grant, ..
        }) => {
            within("workload", workload, MAX_NAME_BYTES)?;
            within("grant", grant, MAX_NAME_BYTES)
        }
        FeedItem::Refusal(Refusal {
            workload,
            grant,
            reason,
            ..
        }) => {
            within("workload", workload, MAX_NAME_BYTES)?;
            within(
                "grant",
                grant.as_deref().unwrap_or_default(),
                MAX_NAME_BYTES,
            )?;
            within("reason", reason, MAX_REASON_BYTES)
        }
        FeedItem::Withdrawn { .. } | FeedItem::Evidence { .. } => Ok(()),
    })
}

/// Cuts what only a reader uses, and what explains as well when it is shorter.
pub(super) fn cut(items: &mut [FeedItem]) {
    for item in items {
        match item {
            FeedItem::Refusal(Refusal {
                detail, digests, ..
            }) => {
                detail.truncate(detail.floor_char_boundary(MAX_DETAIL_BYTES));
                digests.truncate(MAX_REFUSED_DIGESTS);
            }
            FeedItem::Binding(_) | FeedItem::Withdrawn { .. } | FeedItem::Evidence { .. } => {}
        }
    }
}

fn within(field: &'static str, text: &str, limit: usize) -> Result<(), TooLong> {
    if text.len() > limit {
        return Err((field, text.len()));
    }
    Ok(())
}
