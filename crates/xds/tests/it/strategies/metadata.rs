//! Conditions on what filters say.

use model::metadata::MetadataValue;

use super::*;

/// One condition.
pub fn metadata_match() -> impl Strategy<Value = MetadataMatch> {
    let value = prop_oneof![
        Just(MetadataValue::Null),
        (-9.5..9.5).prop_map(MetadataValue::Number),
        (-9.5..0.0, 0.0..9.5).prop_map(|(start, end)| MetadataValue::Range { start, end }),
        string_match().prop_map(MetadataValue::Text),
        any::<bool>().prop_map(MetadataValue::Bool),
        any::<bool>().prop_map(MetadataValue::Present),
    ];
    let value = value.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|member| MetadataValue::OneOf(Box::new(member))),
            vec(inner, 0..3).prop_map(MetadataValue::Any),
        ]
    });
    (text(), vec(text(), 1..3), value, any::<bool>()).prop_map(|(filter, path, value, invert)| MetadataMatch {
        filter,
        path,
        value,
        invert,
    })
}
