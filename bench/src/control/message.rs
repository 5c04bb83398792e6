//! As much of the protocol as a simulated proxy needs: it acknowledges everything and looks at nothing but names.

use prost::Message;
use prost::bytes::Buf as _;
use proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// The fields of a `DeltaDiscoveryResponse` that are looked at; what is not named here is skipped unread.
#[derive(Clone, PartialEq, Message)]
pub struct Response {
    /// The resources.
    #[prost(message, repeated, tag = "2")]
    pub resources: Vec<Named>,
    /// Their type.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// What the answer names.
    #[prost(string, tag = "5")]
    pub nonce: String,
}

/// A resource, of which only the name is read.
#[derive(Clone, PartialEq, Message)]
pub struct Named {
    /// Its name.
    #[prost(string, tag = "3")]
    pub name: String,
}

/// Requests as they are; of responses the parts above, and their size in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Slim;

impl Codec for Slim {
    type Encode = DeltaDiscoveryRequest;
    type Decode = (Response, usize);
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Slim {
    type Item = DeltaDiscoveryRequest;
    type Error = Status;

    fn encode(&mut self, request: Self::Item, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        request.encode(into).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for Slim {
    type Item = (Response, usize);
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        let size = from.remaining();
        let response = Response::decode(from).map_err(|error| Status::internal(error.to_string()))?;
        Ok(Some((response, size)))
    }
}
