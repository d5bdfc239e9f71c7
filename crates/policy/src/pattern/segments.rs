//! Segments of a pattern and their matching against segments of a name.

use std::fmt;

/// One segment of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Segment {
    /// Exactly this text.
    Literal(Box<str>),
    /// `*`: one whole segment that is not empty.
    One,
    /// `**`: any number of segments, also none.
    Any,
}

impl Segment {
    /// Reads `*`, `**` or a literal; `None` when a `*` stands beside other text.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "*" => Some(Self::One),
            "**" => Some(Self::Any),
            _ if text.contains('*') => None,
            _ => Some(Self::Literal(text.into())),
        }
    }

    /// The text, if this is no wildcard.
    pub(super) fn literal(&self) -> Option<&str> {
        match self {
            Self::Literal(text) => Some(text),
            Self::One | Self::Any => None,
        }
    }

    fn admits(&self, name: &str) -> bool {
        match self {
            Self::Literal(literal) => **literal == *name,
            Self::One => !name.is_empty(),
            Self::Any => true,
        }
    }

    /// Whether every single segment that `other` admits is admitted here too.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (Self::One, Self::One) => true,
            (Self::One, Self::Literal(literal)) => !literal.is_empty(),
            (Self::Literal(mine), Self::Literal(theirs)) => mine == theirs,
            (Self::One | Self::Literal(_), Self::Any) | (Self::Literal(_), Self::One) => false,
        }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(text) => f.write_str(text),
            Self::One => f.write_str("*"),
            Self::Any => f.write_str("**"),
        }
    }
}

/// Writes the segments with a separator between them.
pub(super) fn write_joined(
    segments: &[Segment],
    separator: char,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    segments
        .iter()
        .enumerate()
        .try_for_each(|(index, segment)| {
            if index > 0 {
                write!(f, "{separator}")?;
            }
            write!(f, "{segment}")
        })
}

/// Whether the whole name matches the whole pattern.
pub(super) fn matches<'a>(pattern: &[Segment], name: impl Iterator<Item = &'a str>) -> bool {
    let name: Vec<&str> = name.collect();
    wildcard_match(pattern, &name, |segment, part| segment.admits(part))
}

/// Whether every name that `narrow` matches is matched by `wide`. Sound, not complete: `false` may mean "not known".
pub(super) fn covers(wide: &[Segment], narrow: &[Segment]) -> bool {
    wildcard_match(wide, narrow, Segment::covers)
}

/// Greedy matching that goes back only to the last `**`: at most `pattern.len() * items.len()` steps, no recursion.
fn wildcard_match<T>(
    pattern: &[Segment],
    items: &[T],
    admits: impl Fn(&Segment, &T) -> bool,
) -> bool {
    let (mut at_pattern, mut at_item) = (0, 0);
    let mut last_any: Option<(usize, usize)> = None;
    while let Some(item) = items.get(at_item) {
        match pattern.get(at_pattern) {
            Some(Segment::Any) => {
                last_any = Some((at_pattern, at_item));
                at_pattern += 1;
            }
            Some(segment) if admits(segment, item) => {
                at_pattern += 1;
                at_item += 1;
            }
            Some(_) | None => match last_any {
                Some((any, taken)) => {
                    last_any = Some((any, taken + 1));
                    at_pattern = any + 1;
                    at_item = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern
        .get(at_pattern..)
        .is_some_and(|rest| rest.iter().all(|segment| *segment == Segment::Any))
}
