//! Resources from a control plane: the first byte chooses the kind, the rest is the message. What is understood is
//! written and read back to the same value.

#![no_main]

use libfuzzer_sys::fuzz_target;
use model::ResourceKind;
use proto::google::protobuf::Any;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, value)) = bytes.split_first() else { return };
    let kinds = [
        ResourceKind::Cluster,
        ResourceKind::Endpoints,
        ResourceKind::Listener,
        ResourceKind::Route,
        ResourceKind::Secret,
        ResourceKind::Names,
        ResourceKind::VirtualHost,
    ];
    let kind = kinds[usize::from(*kind) % kinds.len()];
    let any = Any { type_url: xds::type_url(kind).to_owned(), value: value.to_vec() };
    match xds::decode::resource(kind, &any) {
        Ok(resource) => {
            let written = xds::encode::resource(&resource);
            let back = xds::decode::resource(kind, &written);
            assert_eq!(back.as_ref().ok(), Some(&resource), "{:?}", back.as_ref().err().map(ToString::to_string));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
