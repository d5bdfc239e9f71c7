//! Undoing Envoy's URL-encoding of the certificate field.

/// The bytes that `encoded` stands for. `None` if a percent sign is not followed by two hex digits.
pub(super) fn decode(encoded: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut bytes = encoded.iter().copied();
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'%' {
            (digit(bytes.next()?)? << 4) | digit(bytes.next()?)?
        } else {
            byte
        };
        decoded.push(byte);
    }
    Some(decoded)
}

const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envoys_escapes_are_undone() {
        assert_eq!(
            decode(b"-----BEGIN%20CERT-----%0Aa%2Bb%2fc%3D").unwrap(),
            b"-----BEGIN CERT-----\na+b/c="
        );
    }

    #[test]
    fn half_an_escape_is_refused() {
        for encoded in [&b"%"[..], b"a%2", b"%zz", b"%2g"] {
            assert_eq!(decode(encoded), None, "{encoded:?}");
        }
    }
}
