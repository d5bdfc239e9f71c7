//! The tags of a repository.

use serde::Deserialize;
use url::Url;

use super::{
    client::Client,
    limits::{MAX_PAGES, MAX_TAG_LIST_BYTES, MAX_TAGS},
    page::next_page,
};
use crate::{
    error::{ArtifactError, InvalidAnswer},
    reference::{Repository, Tag},
};

/// The tags that could be listed.
#[derive(Clone, Debug)]
pub struct TagList {
    /// In the registry's order. A tag outside the grammar cannot be asked for, and is left out.
    pub tags: Vec<Tag>,
    /// Why there may be more.
    pub skipped: Option<ArtifactError>,
}

impl Client {
    /// Reads the pages in order until one fails, the last is read, or there are more than we look at.
    pub(super) async fn tags(&self, repository: &Repository) -> Result<TagList, ArtifactError> {
        let what = format!("tags of `{repository}`");
        let path = format!("/v2/{repository}/tags/list");
        let mut first = self.url(&path);
        first.set_query(Some(&format!("n={MAX_TAGS}")));
        let (mut tags, mut next) = self.tag_page(first, &path, &what).await?;
        let mut skipped = None;
        let mut pages = 1_usize;
        while let Some(url) = next.take() {
            if pages >= MAX_PAGES || tags.len() >= MAX_TAGS {
                skipped = Some(too_many(&what));
                break;
            }
            pages = pages.saturating_add(1);
            match self.tag_page(url, &path, &what).await {
                Ok((more, link)) => {
                    tags.extend(more);
                    next = link;
                }
                Err(error) => skipped = Some(error),
            }
        }
        if tags.len() > MAX_TAGS {
            tags.truncate(MAX_TAGS);
            skipped = Some(too_many(&what));
        }
        let tags = tags.into_iter().filter_map(|tag| Tag::parse(&tag).ok());
        Ok(TagList {
            tags: tags.collect(),
            skipped,
        })
    }

    async fn tag_page(
        &self,
        url: Url,
        path: &str,
        what: &str,
    ) -> Result<(Vec<String>, Option<Url>), ArtifactError> {
        let answer = self.get(url.clone(), &[], MAX_TAG_LIST_BYTES, what).await?;
        let malformed = |source| ArtifactError::malformed(what, InvalidAnswer::TagList { source });
        let RawTags { tags } = serde_json::from_slice(&answer.body).map_err(malformed)?;
        let next = next_page(&answer.headers, &url, path)
            .map_err(|source| ArtifactError::malformed(what, source))?;
        Ok((tags.unwrap_or_default(), next))
    }
}

fn too_many(what: &str) -> ArtifactError {
    ArtifactError::TooLarge {
        what: what.to_owned(),
        limit: MAX_TAGS,
    }
}

#[derive(Deserialize)]
struct RawTags {
    tags: Option<Vec<String>>,
}
