//! Where the next page of a list is.

use http::{HeaderMap, header::LINK};
use url::Url;

use crate::error::InvalidAnswer;

/// The target of `Link: <…>; rel="next"`, which must be the same list at the same registry.
pub(super) fn next_page(
    headers: &HeaderMap,
    current: &Url,
    path: &str,
) -> Result<Option<Url>, InvalidAnswer> {
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
    use http::HeaderValue;

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
