//! All groups, one file for each subject.

mod routing;

use crate::case::Group;

/// In the order in which they run: the slow ones first.
pub fn all() -> Vec<Group> {
    [routing::groups()].into_iter().flatten().collect()
}
