//! The numbers and names of the Proxy-Wasm interface (`proxy-wasm/spec`, ABI 0.1.0 to 0.2.1).

use std::fmt;

/// The version that a module was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Abi {
    V0_1_0,
    V0_2_0,
    V0_2_1,
}

impl Abi {
    /// How the names of exports begin that tell the version.
    pub(crate) const PREFIX: &str = "proxy_abi_version_";
    /// All that are known.
    pub(crate) const ALL: [Self; 3] = [Self::V0_1_0, Self::V0_2_0, Self::V0_2_1];

    /// The version that an export of this name tells.
    pub(crate) fn of_export(name: &str) -> Option<Self> {
        match name.strip_prefix(Self::PREFIX)? {
            "0_1_0" => Some(Self::V0_1_0),
            "0_2_0" => Some(Self::V0_2_0),
            "0_2_1" => Some(Self::V0_2_1),
            _ => None,
        }
    }

    /// Is a request routed anew whenever its head was changed?
    pub(crate) fn reroutes(self) -> bool {
        self < Self::V0_2_1
    }
}

impl fmt::Display for Abi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_2_0 => "0.2.0",
            Self::V0_2_1 => "0.2.1",
        })
    }
}

/// What a host function answers if not that all is well (`proxy_status_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Status {
    NotFound = 1,
    BadArgument = 2,
    InvalidMemoryAccess = 6,
    Empty = 7,
    CasMismatch = 8,
    InternalFailure = 10,
    Unimplemented = 12,
}

/// The way of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Request = 0,
    Response = 1,
}

impl Side {
    /// By the number of a stream (`proxy_stream_type_t`); none for those of connections.
    pub(crate) fn of_stream(number: u32) -> Option<Self> {
        [Self::Request, Self::Response].get(number as usize).copied()
    }

    /// What is called for a piece of its body.
    pub(crate) fn on_body(self) -> Callback {
        [Callback::RequestBody, Callback::ResponseBody][self as usize]
    }

    /// What is called for its trailers.
    pub(crate) fn on_trailers(self) -> Callback {
        [Callback::RequestTrailers, Callback::ResponseTrailers][self as usize]
    }
}

macro_rules! callbacks {
    ($($callback:ident $name:literal $params:expr;)*) => {
        /// A function that a module may export, to be told of something.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Callback {
            $(#[doc = $name] $callback,)*
        }

        impl Callback {
            /// All of them, in the order of their numbers.
            pub(crate) const ALL: &[Self] = &[$(Self::$callback),*];

            /// The name of the export.
            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Self::$callback => $name,)*
                }
            }

            /// How many parameters it may have, all `i32`.
            pub(crate) fn params(self) -> &'static [usize] {
                match self {
                    $(Self::$callback => $params,)*
                }
            }
        }
    };
}
callbacks! {
    Initialize "_initialize" &[0];
    Start "_start" &[0];
    Main "main" &[2];
    ContextCreate "proxy_on_context_create" &[2];
    VmStart "proxy_on_vm_start" &[2];
    Configure "proxy_on_configure" &[2];
    Tick "proxy_on_tick" &[1];
    // ABI 0.1.0 does not tell whether a body follows.
    RequestHeaders "proxy_on_request_headers" &[2, 3];
    RequestBody "proxy_on_request_body" &[3];
    RequestTrailers "proxy_on_request_trailers" &[2];
    ResponseHeaders "proxy_on_response_headers" &[2, 3];
    ResponseBody "proxy_on_response_body" &[3];
    ResponseTrailers "proxy_on_response_trailers" &[2];
    HttpCallResponse "proxy_on_http_call_response" &[5];
    QueueReady "proxy_on_queue_ready" &[2];
    Done "proxy_on_done" &[1];
    Log "proxy_on_log" &[1];
    Delete "proxy_on_delete" &[1];
}
