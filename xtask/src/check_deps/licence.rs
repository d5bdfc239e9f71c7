//! Licence expressions, and the licences that have been agreed to.

/// Licences that a dependency may have. All admit being part of an Apache-2.0 program; MPL-2.0 asks that changes to its own files be published.
const ALLOWED: &[&str] = &[
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "MPL-2.0+",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Whether the expression can be met with allowed licences alone. `/` is the old way to write `OR`. What cannot be read is not allowed.
pub(super) fn is_allowed(expression: &str) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let mut tokens = Tokens {
        rest: spaced.split_whitespace().peekable(),
    };
    let allowed = tokens.alternatives();
    allowed && tokens.rest.next().is_none()
}

struct Tokens<'a> {
    rest: std::iter::Peekable<std::str::SplitWhitespace<'a>>,
}

impl Tokens<'_> {
    /// `AND` binds tighter than `OR`.
    fn alternatives(&mut self) -> bool {
        let mut allowed = self.conjunction();
        while self.rest.next_if_eq(&"OR").is_some() {
            allowed |= self.conjunction();
        }
        allowed
    }

    fn conjunction(&mut self) -> bool {
        let mut allowed = self.term();
        while self.rest.next_if_eq(&"AND").is_some() {
            allowed &= self.term();
        }
        allowed
    }

    fn term(&mut self) -> bool {
        if self.rest.next_if_eq(&"(").is_some() {
            let allowed = self.alternatives();
            return self.rest.next_if_eq(&")").is_some() && allowed;
        }
        let Some(licence) = self.rest.next() else {
            return false;
        };
        let mut licence = licence.to_owned();
        if self.rest.next_if_eq(&"WITH").is_some() {
            let Some(exception) = self.rest.next() else {
                return false;
            };
            licence = format!("{licence} WITH {exception}");
        }
        ALLOWED.contains(&licence.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expression_is_allowed_if_some_choice_is() {
        for allowed in [
            "MIT",
            "MIT OR GPL-3.0-only",
            "Apache-2.0/MIT",
            "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
            "ISC AND (Apache-2.0 OR OpenSSL)",
            "(MIT OR GPL-2.0-only) AND Unicode-3.0",
        ] {
            assert!(is_allowed(allowed), "{allowed}");
        }
    }

    #[test]
    fn expression_is_refused_if_no_choice_is_allowed_or_it_cannot_be_read() {
        for refused in [
            "",
            "GPL-3.0-only",
            "MIT AND GPL-3.0-only",
            "GPL-3.0-only OR AGPL-3.0-only",
            "(MIT OR Apache-2.0",
            "MIT Apache-2.0",
            "MIT AND",
            "OR MIT",
            "Apache-2.0 WITH GPL-exception",
            "mit",
        ] {
            assert!(!is_allowed(refused), "{refused}");
        }
    }
}
