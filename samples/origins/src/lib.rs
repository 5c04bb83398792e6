//! Origins: the ends of the wire for tests and demonstrations. Small servers that say what they were sent, and the clients
//! that try a mesh with them.
//!
//! Owns echo servers for HTTP, WebSocket, TCP, UDP and gRPC, their clients, and an open-loop load generator.
//! Knows nothing of the mesh. Every server takes a bound listener and runs until it is dropped or its end signal
//! completes, so that a test can start it in its own process on port 0.

pub mod authz;
pub mod grpc;
pub mod http_echo;
pub mod listen;
pub mod load;
pub mod openid;
pub mod tcp;
pub mod udp;
pub mod ws;
