//! Header operations of a rule, as changes of the model.

use api::istio::HeaderOperations;
use http::header::HOST;
use http::{HeaderName, HeaderValue};
use model::HeaderChanges;
use model::headers::{HeaderWrite, WriteAction};

/// The changes that operations mean. `set` comes before `add`. Names and values that cannot stand in HTTP were refused
/// when the document came in.
pub fn changes(operations: Option<&HeaderOperations>) -> HeaderChanges {
    let Some(operations) = operations else { return HeaderChanges::default() };
    let write = |(name, value): (&String, &String), action| {
        let name = HeaderName::from_bytes(header_name(name).as_bytes()).ok()?;
        // A request has one authority: one that is added takes the place of the old one.
        let action = if name == HOST { WriteAction::Overwrite } else { action };
        Some(HeaderWrite { name, value: HeaderValue::from_str(value).ok()?, action })
    };
    let set = operations.set.iter().filter_map(|pair| write(pair, WriteAction::Overwrite));
    let add = operations.add.iter().filter_map(|pair| write(pair, WriteAction::Append));
    let remove = operations.remove.iter().filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok());
    HeaderChanges::new(remove.collect(), set.chain(add).collect())
}

/// Both changes, the second one after the first.
pub fn followed_by(first: HeaderChanges, second: HeaderChanges) -> HeaderChanges {
    let stays = first.write().iter().filter(|write| !second.remove().contains(&write.name));
    let write = stays.chain(second.write()).cloned().collect();
    HeaderChanges::new([first.remove(), second.remove()].concat(), write)
}

/// `:authority` is written as `Host`, which the proxy turns into whatever the upstream's protocol calls it.
fn header_name(name: &str) -> &str {
    if name.eq_ignore_ascii_case(":authority") { "host" } else { name }
}
