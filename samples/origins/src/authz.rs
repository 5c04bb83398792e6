//! Services that decide on requests for proxies, over HTTP and over gRPC (`envoy.service.auth.v3.Authorization`).
//!
//! The header [`ASKED`] says what they do: `allow`; `hang` for a minute; `mistake`; everything else, and nothing, is denied.
//! What they allow goes on with [`RESULT`] and [`SEEN`], and who is denied gets [`RESULT`].

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::IntoResponse as _;
use proto::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use proto::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
use proto::envoy::service::auth::v3::check_response::HttpResponse;
use proto::envoy::service::auth::v3::{CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse};
use proto::envoy::r#type::v3::HttpStatus;
use proto::google::rpc;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status};

/// What is to be done with a request.
pub const ASKED: &str = "x-authz";
/// What was decided: `allowed` or `denied`.
pub const RESULT: &str = "x-authz-result";
/// What was seen of the request: its method and path.
pub const SEEN: &str = "x-authz-seen";
/// The body of who is denied.
pub const DENIED: &str = "denied: x-authz is not allow\n";

enum Decision {
    Allow,
    Deny,
    Mistake,
}

async fn decide(asked: Option<&str>) -> Decision {
    match asked {
        Some("allow") => Decision::Allow,
        Some("hang") => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Decision::Allow
        }
        Some("mistake") => Decision::Mistake,
        _ => Decision::Deny,
    }
}

/// Serves over HTTP on `listener` until `end` completes.
///
/// # Errors
/// When the listener breaks.
pub async fn serve_http(listener: TcpListener, end: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    axum::serve(listener, Router::new().fallback(by_http)).with_graceful_shutdown(end).await
}

async fn by_http(method: Method, uri: Uri, headers: HeaderMap) -> axum::response::Response {
    match decide(headers.get(ASKED).and_then(|asked| asked.to_str().ok())).await {
        Decision::Allow => [(RESULT, "allowed".to_owned()), (SEEN, seen(method.as_str(), uri.path()))].into_response(),
        Decision::Deny => (StatusCode::FORBIDDEN, [(RESULT, "denied")], DENIED).into_response(),
        Decision::Mistake => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn seen(method: &str, path: &str) -> String {
    format!("{method} {path}")
}

/// Serves over gRPC on `listener` until `end` completes.
///
/// # Errors
/// When the transport breaks.
pub async fn serve_grpc(listener: TcpListener, end: impl Future<Output = ()>) -> Result<(), tonic::transport::Error> {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    Server::builder().add_service(AuthorizationServer::new(ByGrpc)).serve_with_incoming_shutdown(incoming, end).await
}

struct ByGrpc;

#[tonic::async_trait]
impl Authorization for ByGrpc {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let attributes = request.into_inner().attributes.unwrap_or_default();
        let http = attributes.request.and_then(|request| request.http).unwrap_or_default();
        let headers: HashMap<String, String> = http.headers;
        let (code, answer) = match decide(headers.get(ASKED).map(String::as_str)).await {
            Decision::Allow => {
                let headers = vec![option(RESULT, "allowed"), option(SEEN, &seen(&http.method, &http.path))];
                (Code::Ok, HttpResponse::OkResponse(OkHttpResponse { headers, ..OkHttpResponse::default() }))
            }
            Decision::Deny => {
                let status = Some(HttpStatus { code: StatusCode::FORBIDDEN.as_u16().into() });
                let headers = vec![option(RESULT, "denied")];
                let denied = DeniedHttpResponse { status, headers, body: DENIED.to_owned() };
                (Code::PermissionDenied, HttpResponse::DeniedResponse(denied))
            }
            Decision::Mistake => return Err(Status::internal("a mistake, as asked for")),
        };
        let status = Some(rpc::Status { code: code as i32, ..rpc::Status::default() });
        Ok(Response::new(CheckResponse { status, http_response: Some(answer), ..CheckResponse::default() }))
    }
}

fn option(key: &str, value: &str) -> HeaderValueOption {
    let header = Some(HeaderValue { key: key.to_owned(), value: value.to_owned(), raw_value: Vec::new() });
    HeaderValueOption { header, ..HeaderValueOption::default() }
}
