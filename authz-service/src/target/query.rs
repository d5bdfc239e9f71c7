//! The query of a registry request: known keys, each value decoded once.

/// The decoded pairs of a query, in order.
#[derive(Debug)]
pub(super) struct Query<'a> {
    pairs: Vec<(&'a str, String)>,
}

impl<'a> Query<'a> {
    /// Reads a query whose keys are all among `known`.
    ///
    /// # Errors
    /// What is not known or not readable about it, in words.
    pub(super) fn parse(query: Option<&'a str>, known: &[&str]) -> Result<Self, String> {
        let pairs = query
            .into_iter()
            .flat_map(|query| query.split('&'))
            .filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if known.contains(&key) {
                decode(value)
                    .map(|value| (key, value))
                    .ok_or_else(|| format!("the value of `{key}` is not percent-encoded text"))
            } else {
                Err(format!(
                    "`{}` is no parameter of this request",
                    key.escape_default()
                ))
            }
        });
        Ok(Self {
            pairs: pairs.collect::<Result<_, _>>()?,
        })
    }

    /// The value of a key that may be given once.
    ///
    /// # Errors
    /// The key is given more than once: which of them counts, another reader may see otherwise.
    pub(super) fn one(&self, key: &str) -> Result<Option<&str>, String> {
        let mut values = self
            .pairs
            .iter()
            .filter(|(name, _)| *name == key)
            .map(|(_, value)| value.as_str());
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(format!("`{key}` is given more than once")),
        }
    }
}

/// Undoes percent-encoding. `+` stands for a space in some readers and for itself in others, so it stands for nothing here.
fn decode(value: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => return None,
            b'%' => u8::try_from(digit(bytes.next())? * 16 + digit(bytes.next())?).ok()?,
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_once() {
        let query = Query::parse(
            Some("mount=sha256%3Aab&from=team%2fapp&_state=%2525"),
            &["mount", "from", "_state"],
        )
        .unwrap();
        assert_eq!(query.one("mount"), Ok(Some("sha256:ab")));
        assert_eq!(query.one("from"), Ok(Some("team/app")));
        assert_eq!(query.one("_state"), Ok(Some("%25")));
        assert_eq!(query.one("digest"), Ok(None));
    }

    #[test]
    fn unknown_repeated_and_unreadable_parameters_are_refused() {
        assert!(Query::parse(Some("x=1"), &["ns"]).is_err());
        assert!(Query::parse(Some("n%73=1"), &["ns"]).is_err());
        assert!(Query::parse(Some("ns=a+b"), &["ns"]).is_err());
        assert!(Query::parse(Some("ns=%"), &["ns"]).is_err());
        assert!(Query::parse(Some("ns=%zz"), &["ns"]).is_err());
        assert!(Query::parse(Some("ns=%ff"), &["ns"]).is_err());
        assert!(
            Query::parse(Some("ns=a&ns=a"), &["ns"])
                .unwrap()
                .one("ns")
                .is_err()
        );
        assert_eq!(Query::parse(None, &[]).unwrap().one("ns"), Ok(None));
        assert_eq!(Query::parse(Some(""), &[]).unwrap().one("ns"), Ok(None));
    }
}
