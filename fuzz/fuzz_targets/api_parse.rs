//! Documents that people write: whatever comes, it is read or refused, and what is read can be told and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let parsed = api::parse("fuzz.yaml", text);
    for problem in &parsed.problems {
        problem.render(text);
        problem.to_json();
    }
    for resource in &parsed.resources {
        let back = api::Resource::from_json(resource.document(), resource.origin.clone());
        assert_eq!(back.as_ref().ok(), Some(&**resource), "the store reads what it keeps: {:?}", back.as_ref().err());
        let again = api::parse("again.yaml", &resource.to_yaml());
        assert_eq!(again.resources.first(), Some(resource), "what is shown reads back:\n{}", resource.to_yaml());
    }
});
