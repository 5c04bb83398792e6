//! Of which kind a certificate's name must be for a match on it to be possible.

use model::StringMatch;

/// The kinds of subject alternative names that a text can match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SanKind {
    /// Only a URI: the text has a colon, which no DNS name has.
    Uri,
    /// Only a DNS name: the whole text has no colon, which every URI has.
    Dns,
    /// Both, as with the end of a name or a pattern.
    Either,
}

impl SanKind {
    pub(crate) fn of(name: &StringMatch) -> Self {
        match name {
            StringMatch::Exact { value, .. } if !value.contains(':') => Self::Dns,
            StringMatch::Exact { value, .. }
            | StringMatch::Prefix { value, .. }
            | StringMatch::Suffix { value, .. }
            | StringMatch::Contains { value, .. }
                if value.contains(':') =>
            {
                Self::Uri
            }
            _ => Self::Either,
        }
    }
}
