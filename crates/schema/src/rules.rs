//! The bounds that Envoy's schema sets to values: lengths, ranges, patterns, what may not be missing. They are options of
//! the schema's fields (`validate.rules`, protoc-gen-validate), and Envoy refuses what does not keep them.

use std::collections::HashMap;
use std::sync::Arc;

use prost_reflect::{
    DynamicMessage, ExtensionDescriptor, FieldDescriptor, Kind, MapKey, OneofDescriptor, ReflectMessage, Value,
};

use super::{Misfit, POOL, decode};

mod bounds;

/// Does a message keep the bounds of the schema, with all that it holds, also in envelopes?
///
/// # Errors
/// [`Misfit`]: the first value that does not, and where.
pub fn check(message: &DynamicMessage) -> Result<(), Misfit> {
    let option = |name: &str| POOL.get_extension_by_name(name).expect("the schema has its own options");
    let mut walk = Walk {
        path: String::new(),
        known: HashMap::new(),
        of_field: option("validate.rules"),
        of_choice: option("validate.required"),
    };
    walk.message(message)
}

/// What is wrong with a value, and what was expected.
type Checked = Result<(), String>;

struct Walk {
    path: String,
    /// The rules of fields that were met, by their full names.
    known: HashMap<String, Option<Arc<DynamicMessage>>>,
    of_field: ExtensionDescriptor,
    of_choice: ExtensionDescriptor,
}

impl Walk {
    fn message(&mut self, message: &DynamicMessage) -> Result<(), Misfit> {
        let descriptor = message.descriptor();
        if descriptor.full_name() == "google.protobuf.Any" {
            // Of a type that the schema does not know, nothing is known.
            return envelope(message).map_or(Ok(()), |inner| self.message(&inner));
        }
        for choice in descriptor.oneofs().filter(|choice| !choice.is_synthetic()) {
            self.chosen(message, &choice)?;
        }
        for field in descriptor.fields() {
            let rules = self.rules(&field);
            if rules.is_some() || matches!(field.kind(), Kind::Message(_)) {
                self.within(&format!(".{}", field.name()), |walk| walk.field(message, &field, rules.as_deref()))?;
            }
        }
        Ok(())
    }

    fn chosen(&self, message: &DynamicMessage, choice: &OneofDescriptor) -> Result<(), Misfit> {
        let required = choice.options().get_extension(&self.of_choice).as_bool() == Some(true);
        if !required || choice.fields().any(|field| message.has_field(&field)) {
            return Ok(());
        }
        let names: Vec<String> = choice.fields().map(|field| format!("`{}`", field.name())).collect();
        Err(self.misfit(format!("holds no `{}`; expected one of {}", choice.name(), names.join(", "))))
    }

    fn field(
        &mut self,
        message: &DynamicMessage,
        field: &FieldDescriptor,
        rules: Option<&DynamicMessage>,
    ) -> Result<(), Misfit> {
        if field.supports_presence() && !message.has_field(field) {
            // Of a choice the others are not there.
            let is_of_choice = field.containing_oneof().is_some_and(|choice| !choice.is_synthetic());
            return match rules.is_some_and(bounds::required) && !is_of_choice {
                true => Err(self.misfit("is missing; expected a value".to_owned())),
                false => Ok(()),
            };
        }
        let value = message.get_field(field);
        self.check(bounds::whole(&value, rules))?;
        match &*value {
            Value::List(items) => {
                let rules = rules.and_then(|rules| bounds::inner(rules, "repeated", "items"));
                for (index, item) in items.iter().enumerate() {
                    self.within(&format!("[{index}]"), |walk| walk.value(item, field, rules.as_ref()))?;
                }
                Ok(())
            }
            Value::Map(entries) => {
                // In one order, so that the same text is always answered alike.
                let mut entries: Vec<(String, &Value)> = entries.iter().map(|(k, v)| (key_text(k), v)).collect();
                entries.sort_by(|a, b| a.0.cmp(&b.0));
                let of = |name| rules.and_then(|rules| bounds::inner(rules, "map", name));
                let (keys, values) = (of("keys"), of("values"));
                for (key, value) in entries {
                    self.within(&format!("[{key:?}]"), |walk| {
                        walk.check(bounds::single(&Value::String(key.clone()), field, keys.as_ref()))?;
                        walk.value(value, field, values.as_ref())
                    })?;
                }
                Ok(())
            }
            value => self.value(value, field, rules),
        }
    }

    /// A value by itself: an item of a list, or what a field holds.
    fn value(&mut self, value: &Value, field: &FieldDescriptor, rules: Option<&DynamicMessage>) -> Result<(), Misfit> {
        self.check(bounds::single(value, field, rules))?;
        match value {
            Value::Message(message) if !rules.is_some_and(bounds::skipped) => self.message(message),
            _ => Ok(()),
        }
    }

    fn rules(&mut self, field: &FieldDescriptor) -> Option<Arc<DynamicMessage>> {
        if let Some(known) = self.known.get(field.full_name()) {
            return known.clone();
        }
        let options = field.options();
        let rules = options.has_extension(&self.of_field).then(|| options.get_extension(&self.of_field).into_owned());
        let rules = rules.and_then(|rules| rules.as_message().cloned().map(Arc::new));
        self.known.insert(field.full_name().to_owned(), rules.clone());
        rules
    }

    fn within(&mut self, step: &str, look: impl FnOnce(&mut Self) -> Result<(), Misfit>) -> Result<(), Misfit> {
        let length = self.path.len();
        self.path.push_str(step);
        look(self)?;
        self.path.truncate(length);
        Ok(())
    }

    fn check(&self, checked: Checked) -> Result<(), Misfit> {
        checked.map_err(|problem| self.misfit(problem))
    }

    fn misfit(&self, problem: String) -> Misfit {
        let path = self.path.trim_start_matches('.');
        Misfit { path: if path.is_empty() { "." } else { path }.to_owned(), problem }
    }
}

fn envelope(any: &DynamicMessage) -> Option<DynamicMessage> {
    let (url, bytes) = (any.get_field_by_name("type_url")?, any.get_field_by_name("value")?);
    decode(url.as_str()?, bytes.as_bytes()?)
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::String(text) => text.clone(),
        MapKey::Bool(value) => value.to_string(),
        MapKey::I32(value) => value.to_string(),
        MapKey::I64(value) => value.to_string(),
        MapKey::U32(value) => value.to_string(),
        MapKey::U64(value) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use crate::{CLUSTER, check, message};

    fn wrong(name: &str, value: Json) -> String {
        check(&message(name, value).unwrap()).map_or_else(|misfit| misfit.to_string(), |()| "fits".to_owned())
    }

    #[test]
    fn every_kind_of_bound() {
        let route = "envoy.config.route.v3.RouteConfiguration";
        let manager = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
        let host = |more: Json| {
            let mut host = json!({"name": "a", "domains": ["*"]});
            host.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"virtual_hosts": [host]})
        };
        let cases = [
            (CLUSTER, json!({"name": "a", "connect_timeout": "1s"}), "fits"),
            (CLUSTER, json!({"connect_timeout": "1s"}), "name: is empty; expected at least 1 character"),
            (CLUSTER, json!({"name": "a", "connect_timeout": "0s"}), "connect_timeout: is 0s; expected more than 0s"),
            (
                CLUSTER,
                json!({"name": "a", "common_lb_config": {"healthy_panic_threshold": {"value": 101}}}),
                "common_lb_config.healthy_panic_threshold.value: is 101; expected at least 0 and at most 100",
            ),
            (
                CLUSTER,
                json!({"name": "a", "load_assignment": {"cluster_name": "a", "endpoints": [{"priority": 129}]}}),
                "load_assignment.endpoints[0].priority: is 129; expected at most 128",
            ),
            (
                CLUSTER,
                json!({"name": "a", "outlier_detection": {"enforcing_success_rate": 200}}),
                "outlier_detection.enforcing_success_rate: is 200; expected at most 100",
            ),
            (CLUSTER, json!({"name": "a", "lb_policy": 99}), "lb_policy: is 99; expected a value that is defined"),
            (route, host(json!({"domains": []})), "virtual_hosts[0].domains: has 0 items; expected at least 1"),
            (
                route,
                host(json!({"request_headers_to_remove": ["a\nb"]})),
                "virtual_hosts[0].request_headers_to_remove[0]: is \"a\\nb\"; expected a header's name",
            ),
            (
                route,
                host(json!({"routes": [{"match": {"prefix": "/"}}]})),
                "virtual_hosts[0].routes[0]: holds no `action`; expected one of `route`, `redirect`, `direct_response`, `filter_action`, `non_forwarding_action`",
            ),
            (
                route,
                host(json!({"routes": [{"redirect": {}}]})),
                "virtual_hosts[0].routes[0].match: is missing; expected a value",
            ),
            (manager, json!({"stat_prefix": "a", "route_config": {}}), "fits"),
        ];
        for (name, value, expected) in cases {
            assert_eq!(wrong(name, value.clone()), expected, "{value}");
        }
    }

    #[test]
    fn inside_envelopes() {
        let socket = json!({"name": "tls", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": "a".repeat(300),
        }});
        let text = wrong(CLUSTER, json!({"name": "a", "transport_socket": socket}));
        assert!(text.starts_with("transport_socket.typed_config.sni: has 300 bytes; expected at most 255"), "{text}");
    }
}
