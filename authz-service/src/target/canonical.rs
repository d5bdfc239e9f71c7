//! The one form of a path that every reader between the caller and the service reads alike.
//!
//! No URL library: each of them repairs something, and what is repaired here may be repaired otherwise behind the proxy.

/// Splits `:path` at its first `?` and checks that both parts are in canonical form.
///
/// # Errors
/// What is not canonical about it, in words.
pub(super) fn path_and_query(bytes: &[u8]) -> Result<(&str, Option<&str>), &'static str> {
    if bytes.len() > MAX_PATH_BYTES {
        return Err("the path is longer than 8 KiB");
    }
    let text = std::str::from_utf8(bytes).map_err(|_not_text| "the path is not ASCII")?;
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    };
    check_path(path)?;
    query.map_or(Ok(()), check_query)?;
    Ok((path, query))
}

fn check_path(path: &str) -> Result<(), &'static str> {
    let relative = path
        .strip_prefix('/')
        .ok_or("the path does not begin with a slash")?;
    check_bytes(path)?;
    let mut segments = relative.split('/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "" if segments.peek().is_some() => return Err("the path has an empty segment"),
            "." | ".." => return Err("the path has a dot segment"),
            _ => {}
        }
    }
    Ok(())
}

/// Each character has one spelling: as itself if it is visible ASCII, else percent-encoded in upper case. Characters with a second
/// meaning (`\`, `;`, `#`, encoded separators, controls) have none.
fn check_bytes(path: &str) -> Result<(), &'static str> {
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => return Err("the path has a backslash"),
            b';' => return Err("the path has a parameter"),
            b'#' => return Err("the path has a fragment"),
            b'%' => check_encoded(bytes.next(), bytes.next())?,
            0x21..=0x7e => {}
            _ => return Err("the path has a character that must be percent-encoded"),
        }
    }
    Ok(())
}

fn check_encoded(high: Option<u8>, low: Option<u8>) -> Result<(), &'static str> {
    let digit = |byte: Option<u8>| {
        byte.filter(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(byte))
            .map(char::from)?
            .to_digit(16)
    };
    match digit(high)
        .zip(digit(low))
        .map(|(high, low)| high * 16 + low)
    {
        None => Err("the path has a percent sign that encodes nothing in upper-case hex"),
        Some(0x20 | 0x80..) => Ok(()),
        Some(_) => Err("the path encodes a character that is written as itself, or not at all"),
    }
}

/// No rule is about the query of a service call, so any visible ASCII will do.
fn check_query(query: &str) -> Result<(), &'static str> {
    if query
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'#')
    {
        Ok(())
    } else {
        Err("the query has a character that is not visible ASCII")
    }
}

const MAX_PATH_BYTES: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn canonical_paths_are_taken_as_they_are() {
        for path in [
            "/",
            "/a",
            "/a/",
            "/v1/charges/7",
            "/a.b/...",
            "/@me",
            "/a%20b",
            "/%C3%A9",
            "/pkg.Service/Method",
            "/v2/",
        ] {
            assert_eq!(path_and_query(path.as_bytes()), Ok((path, None)), "{path}");
        }
        assert_eq!(
            path_and_query(b"/a?b=%2F/../c?d"),
            Ok(("/a", Some("b=%2F/../c?d")))
        );
        assert_eq!(path_and_query(b"/a?"), Ok(("/a", Some(""))));
    }

    #[test]
    fn everything_with_a_second_reading_is_refused() {
        let long = format!("/{}", "a".repeat(MAX_PATH_BYTES));
        for path in [
            "",
            "a",
            "*",
            "http://a/b",
            "//",
            "//a",
            "/a//b",
            "/a//",
            "/.",
            "/..",
            "/a/./b",
            "/a/../b",
            "/a/..",
            "/a\\b",
            "/a;x=1",
            "/..;x/b",
            "/a#b",
            "/a?b#c",
            "/%2e%2e/a",
            "/%2E",
            "/a%2Fb",
            "/a%2fb",
            "/a%5Cb",
            "/a%5cb",
            "/a%00b",
            "/a%0Ab",
            "/a%7Fb",
            "/%41",
            "/a%3Bb",
            "/%252e",
            "/%25",
            "/%",
            "/%4",
            "/%zz",
            "/%c3%a9",
            "/a b",
            "/caf\u{e9}",
            "/a?\u{e9}",
            "/a?b c",
            "/a\tb",
            long.as_str(),
        ] {
            assert!(path_and_query(path.as_bytes()).is_err(), "{path}");
        }
        assert!(path_and_query(b"/caf\xe9").is_err());
    }

    proptest! {
        /// Two canonical paths that decode to the same bytes are the same path.
        #[test]
        fn canonical_form_is_unique(first in "/(%[0-9A-F]{2}|[ -~]){0,3}", second in "/(%[0-9A-F]{2}|[ -~]){0,3}") {
            let decode = |path: &str| {
                let mut out = Vec::new();
                let mut bytes = path.bytes();
                while let Some(byte) = bytes.next() {
                    let hex = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap();
                    out.push(if byte == b'%' { hex(bytes.next().unwrap()) * 16 + hex(bytes.next().unwrap()) } else { byte });
                }
                out
            };
            if let (Ok((first, _)), Ok((second, _))) = (path_and_query(first.as_bytes()), path_and_query(second.as_bytes())) {
                prop_assert_eq!(first == second, decode(first) == decode(second));
            }
        }
    }
}
