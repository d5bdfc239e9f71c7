//! The referrers API and its pages.

use evidence::Digest;
use http::{HeaderMap, HeaderValue, header::LINK};
use url::Url;

use crate::{
    error::{ArtifactError, InvalidAnswer},
    manifest::{Descriptor, INDEX_TYPES, Manifest},
    reference::Repository,
    registry::{
        client::Client,
        limits::{MAX_MANIFEST_BYTES, MAX_PAGES, MAX_REFERRERS},
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

/// The target of `Link: <…>; rel="next"`, which must be the same list at the same registry.
fn next_page(headers: &HeaderMap, current: &Url, path: &str) -> Result<Option<Url>, InvalidAnswer> {
    let links = headers
        .get_all(LINK)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let Some(target) = links
        .flat_map(|value| value.split(','))
        .find_map(next_target)
    else {
        return Ok(None);
    };
    let next = current
        .join(target)
        .ok()
        .filter(|next| next.origin() == current.origin() && next.path() == path);
    next.map(Some)
        .ok_or_else(|| InvalidAnswer::NextPageElsewhere {
            link: target.to_owned(),
        })
}

fn next_target(link: &str) -> Option<&str> {
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = |parameter: &str| matches!(parameter.trim(), r#"rel="next""# | "rel=next");
    parameters.split(';').any(is_next).then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/v2/a/referrers/sha256:00";

    fn next(link: &'static str) -> Result<Option<String>, InvalidAnswer> {
        let headers = HeaderMap::from_iter([(LINK, HeaderValue::from_static(link))]);
        let current = Url::parse(&format!("http://h:1{PATH}")).unwrap();
        next_page(&headers, &current, PATH).map(|next| next.map(String::from))
    }

    #[test]
    fn the_next_page_is_followed_within_the_list() {
        let page = Some("http://h:1/v2/a/referrers/sha256:00?n=2".to_owned());
        assert_eq!(
            next(r#"</v2/a/referrers/sha256:00?n=2>; rel="next""#).unwrap(),
            page
        );
        assert_eq!(
            next(r#"</x>; rel="first", <?n=2>; rel=next"#).unwrap(),
            page
        );
        assert_eq!(next(r#"</x>; rel="last""#).unwrap(), None);
    }

    #[test]
    fn the_next_page_is_not_followed_elsewhere() {
        for link in [
            r#"<http://other:1/v2/a/referrers/sha256:00>; rel="next""#,
            r#"<https://h:1/v2/a/referrers/sha256:00>; rel="next""#,
            r#"<//169.254.169.254/latest>; rel="next""#,
            r#"</v2/b/referrers/sha256:00>; rel="next""#,
        ] {
            assert!(
                matches!(next(link), Err(InvalidAnswer::NextPageElsewhere { .. })),
                "{link}"
            );
        }
    }
}
