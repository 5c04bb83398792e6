//! What Envoy has an expression for, as that expression.

use model::rate_limit::RequestFact;
use proto::envoy::config::core::v3::TypedExtensionConfig;
use proto::envoy::extensions::rate_limit_descriptors::expr::v3::Descriptor;
use proto::envoy::extensions::rate_limit_descriptors::expr::v3::descriptor::ExprSpecifier;

use crate::encode::pack;
use crate::expressions::text_of;

/// The name of Envoy's extension.
const NAME: &str = "envoy.rate_limit_descriptors.expr";

pub(super) fn extension(key: &str, fact: RequestFact, skip_if_absent: bool) -> TypedExtensionConfig {
    TypedExtensionConfig {
        name: NAME.to_owned(),
        typed_config: Some(pack(&Descriptor {
            descriptor_key: key.to_owned(),
            skip_if_error: skip_if_absent,
            expr_specifier: Some(ExprSpecifier::Text(text_of(fact).to_owned())),
        })),
    }
}
