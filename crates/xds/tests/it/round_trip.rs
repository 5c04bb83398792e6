//! What is encoded is decoded to the same, with the same bytes each time; and no bytes make the decoder panic.

use std::sync::Arc;

use model::ResourceKind;
use proptest::prelude::*;
use proto::google::protobuf::Any;
use xds::{Resource, decode, encode, type_url};

use crate::strategies;

/// Any resource of any kind.
pub fn resource() -> impl Strategy<Value = Resource> {
    prop_oneof![
        strategies::cluster().prop_map(|it| Resource::Cluster(Arc::new(it))),
        strategies::endpoints().prop_map(|it| Resource::Endpoints(Arc::new(it))),
        strategies::listener().prop_map(|it| Resource::Listener(Arc::new(it))),
        strategies::route().prop_map(|it| Resource::Route(Arc::new(it))),
        strategies::virtual_host().prop_map(|it| Resource::VirtualHost(it.name.clone(), Arc::new(it))),
        strategies::secret().prop_map(|it| Resource::Secret(Arc::new(it))),
        strategies::connection_limits().prop_map(|it| Resource::Limits(Arc::new(it))),
        strategies::names().prop_map(|it| Resource::Names(model::NameTable::RESOURCE.into(), Arc::new(it))),
    ]
}

fn kind() -> impl Strategy<Value = ResourceKind> {
    prop::sample::select(ResourceKind::ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decode_undoes_encode(resource in resource()) {
        let any = encode::resource(&resource);
        prop_assert_eq!(&any.type_url, type_url(resource.kind()));
        let back = decode::resource(resource.kind(), &any);
        prop_assert_eq!(back.as_ref(), Ok(&resource));
        prop_assert_eq!(encode::resource(&back.unwrap()), any, "equal values must give equal bytes");
    }

    #[test]
    fn arbitrary_bytes(kind in kind(), value in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode::resource(kind, &Any { type_url: type_url(kind).into(), value });
    }

    #[test]
    fn damaged_resources(
        resource in resource(),
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
        shorten in any::<bool>(),
    ) {
        let mut any = encode::resource(&resource);
        for (at, byte) in hits {
            if !any.value.is_empty() {
                let at = at.index(any.value.len());
                any.value[at] = byte;
            }
        }
        if shorten {
            any.value.truncate(cut.index(any.value.len() + 1));
        }
        let _ = decode::resource(resource.kind(), &any);
    }
}

#[test]
fn listeners_of_programs_are_sent_and_not_taken() {
    let http = model::HttpProxy::new("a:1", model::http_proxy::RouteSource::Rds("routes".into()));
    let listener = Arc::new(model::ApiListener { name: "a:1".into(), http: Box::new(http) });
    let any = encode::resource(&Resource::ApiListener(listener.clone()));
    assert_eq!(decode::api_listener(&any).as_ref(), Ok(&*listener));
    let refused = decode::resource(ResourceKind::Listener, &any).unwrap_err().to_string();
    assert!(refused.contains("api_listener"), "{refused}");
}
