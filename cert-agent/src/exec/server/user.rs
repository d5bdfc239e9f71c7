//! Whom a grant lets a program run as.

use policy::{grant::Selector, reason::Reason};

use crate::workload::Refused;

/// Whom a program runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl User {
    pub(super) fn of(grant: &str, selectors: &[Selector]) -> Result<Self, Refused> {
        let refused =
            |what: &str| Refused::new(Reason::GrantNoneMatched, format!("grant `{grant}` {what}"));
        let uid = only(selectors, "uid").map_err(|()| refused("names more than one user"))?;
        let uid =
            uid.ok_or_else(|| refused("names no user to run as: it has no selector `unix:uid:N`"))?;
        let gid = only(selectors, "gid")
            .map_err(|()| refused("names more than one group"))?
            .unwrap_or(uid);
        Ok(Self { uid, gid })
    }
}

/// The one number that selectors give a key; none if they say nothing of it.
fn only(selectors: &[Selector], key: &str) -> Result<Option<u32>, ()> {
    let mut found = None;
    for value in selectors
        .iter()
        .filter_map(|selector| selector.value_of("unix", key))
    {
        let number = value.parse().map_err(|_not_a_number| ())?;
        if found.replace(number).is_some_and(|other| other != number) {
            return Err(());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(selectors: &[&str]) -> Result<User, Reason> {
        let selectors: Vec<_> = selectors
            .iter()
            .map(|text| Selector::parse(text).unwrap())
            .collect();
        User::of("payments", &selectors).map_err(|refused| refused.reason)
    }

    #[test]
    fn user_comes_from_the_grants_selectors() {
        assert_eq!(
            user(&["unix:uid:1000"]),
            Ok(User {
                uid: 1000,
                gid: 1000
            })
        );
        assert_eq!(
            user(&["unix:uid:1000", "unix:gid:7"]),
            Ok(User { uid: 1000, gid: 7 })
        );
    }

    #[test]
    fn grant_without_one_user_is_refused() {
        for selectors in [
            &["unix:gid:7"][..],
            &["unix:uid:1", "unix:uid:2"],
            &["unix:uid:root"],
            &[],
        ] {
            assert_eq!(
                user(selectors),
                Err(Reason::GrantNoneMatched),
                "{selectors:?}"
            );
        }
    }
}
