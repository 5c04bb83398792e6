//! The gRPC echo, by its own checklist; and that the checklist can fail.

use std::time::Duration;

use origins::grpc::{self, checklist};
use tonic::transport::Endpoint;

use crate::{http_origin, listener};

const WITHIN: Duration = Duration::from_secs(10);

#[tokio::test]
async fn the_whole_checklist() {
    let (listener, address) = listener().await;
    tokio::spawn(grpc::serve(listener, "origin-1".to_owned(), std::future::pending()));
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let checks = checklist::run(endpoint, &[], WITHIN).await.unwrap();
    let names: Vec<_> = checks.iter().map(|c| c.name).collect();
    assert_eq!(names, checklist::NAMES);
    for check in checks {
        let by = if check.name == "deadline" { "deadline" } else { "origin-1" };
        assert_eq!((check.fault, check.served_by.as_deref()), (None, Some(by)), "{}", check.name);
    }
}

#[tokio::test]
async fn what_is_no_grpc_fails() {
    let endpoint = Endpoint::from_shared(format!("http://{}", http_origin().await)).unwrap();
    let checks = checklist::run(endpoint, &["unary".to_owned()], WITHIN).await.unwrap();
    assert_eq!(checks.len(), 1);
    assert!(checks[0].fault.is_some());
}
