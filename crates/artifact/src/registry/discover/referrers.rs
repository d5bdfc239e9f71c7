//! The referrers API and its pages.

use evidence::Digest;
use http::HeaderValue;
use url::Url;

use crate::{
    error::{ArtifactError, InvalidAnswer},
    manifest::{Descriptor, INDEX_TYPES, Manifest},
    reference::Repository,
    registry::{
        client::Client,
        limits::{MAX_MANIFEST_BYTES, MAX_PAGES, MAX_REFERRERS},
        page::next_page,
        resolve::content_type,
    },
};

/// What the API lists, as far as it could be read.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) children: Vec<Descriptor>,
    /// Why the list is not whole. A registry without the API is here as absence.
    pub(super) skipped: Option<ArtifactError>,
}

impl Client {
    /// Reads the pages in order until one fails, the last is read, or there are more than we look at.
    pub(super) async fn referrers(&self, repository: &Repository, subject: &Digest) -> Listed {
        let mut listed = Listed::default();
        let path = format!("/v2/{repository}/referrers/{subject}");
        let what = format!("referrers of `{repository}@{subject}`");
        let mut next = Some(self.url(&path));
        let mut pages = 0_usize;
        while let Some(url) = next {
            if pages >= MAX_PAGES || listed.children.len() > MAX_REFERRERS {
                listed.skipped = Some(ArtifactError::TooLarge {
                    what,
                    limit: MAX_REFERRERS,
                });
                return listed;
            }
            match self.page(url, &path, &what).await {
                Ok((children, link)) => {
                    listed.children.extend(children);
                    next = link;
                }
                Err(error) => {
                    listed.skipped = Some(error);
                    return listed;
                }
            }
            pages = pages.saturating_add(1);
        }
        listed
    }

    async fn page(
        &self,
        url: Url,
        path: &str,
        what: &str,
    ) -> Result<(Vec<Descriptor>, Option<Url>), ArtifactError> {
        let [index_type, _] = INDEX_TYPES;
        let accept = [HeaderValue::from_static(index_type)];
        let answer = self
            .get(url.clone(), &accept, MAX_MANIFEST_BYTES, what)
            .await?;
        let manifest = Manifest::parse(&answer.body, content_type(&answer.headers))
            .map_err(|source| ArtifactError::malformed(what, source))?;
        let next = next_page(&answer.headers, &url, path)
            .map_err(|source| ArtifactError::malformed(what, source))?;
        match manifest {
            Manifest::Index(index) => Ok((index.children, next)),
            Manifest::Image(_) => Err(ArtifactError::malformed(what, InvalidAnswer::NotAnIndex)),
        }
    }
}
