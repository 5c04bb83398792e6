//! Why a token is refused, in Envoy's words.

use http::StatusCode;

/// With spaces as underscores, as Envoy writes its details into logs that are cut at spaces.
const fn joined<const N: usize>(text: &str) -> [u8; N] {
    let (mut out, mut at) = ([0; N], 0);
    while at < N {
        let byte = text.as_bytes()[at];
        out[at] = if byte == b' ' { b'_' } else { byte };
        at += 1;
    }
    out
}

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident: $code:literal, $text:literal;)*) => {
        /// Why a token is refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Status {
            $($(#[$doc])* $name,)*
        }

        impl Status {
            /// What the caller is told.
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// `RESPONSE_CODE_DETAILS`
            pub fn details(self) -> &'static str {
                match self {
                    $(Self::$name => {
                        const DETAILS: &str = concat!("jwt_authn_access_denied{", $text, "}");
                        const BYTES: [u8; DETAILS.len()] = joined(DETAILS);
                        const { match std::str::from_utf8(&BYTES) {
                            Ok(text) => text,
                            Err(_) => "",
                        } }
                    })*
                }
            }

            /// Its number, which is told in metadata.
            pub fn code(self) -> u8 {
                match self {
                    $(Self::$name => $code,)*
                }
            }

            #[cfg(test)]
            pub const ALL: &[Self] = &[$(Self::$name),*];
        }
    };
}

statuses! {
    /// There is none.
    Missing: 1, "Jwt is missing";
    /// `nbf`
    NotYetValid: 2, "Jwt not yet valid";
    /// `exp`
    Expired: 3, "Jwt is expired";
    /// Not three parts.
    BadFormat: 4, "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections";
    /// The header is no Base64.
    HeaderBase64: 5, "Jwt header is an invalid Base64url encoded";
    /// The header is no JSON.
    HeaderJson: 6, "Jwt header is an invalid JSON";
    /// `alg` is missing or no text.
    BadAlg: 7, "Jwt header [alg] field is required and must be a string";
    /// `alg` is none that there is.
    UnknownAlg: 8, "Jwt header [alg] is not supported";
    /// `kid` is no text.
    BadKid: 9, "Jwt header [kid] field is not a string";
    /// The payload is no Base64.
    PayloadBase64: 10, "Jwt payload is an invalid Base64url encoded";
    /// A signature of Ed25519 is not 64 bytes long.
    Ed25519Length: 11, "Jwt ED25519 signature is wrong length";
    /// The payload is no JSON.
    PayloadJson: 12, "Jwt payload is an invalid JSON";
    /// `iss` is no text.
    IssNotText: 13, "Jwt payload [iss] field is not a string";
    /// `sub` is no text.
    SubNotText: 14, "Jwt payload [sub] field is not a string";
    /// `iat` is no number.
    IatNotNumber: 15, "Jwt payload [iat] field is not an integer";
    /// `iat` is out of range.
    IatRange: 16, "Jwt payload [iat] field is not a positive 64 bit integer";
    /// `nbf` is no number.
    NbfNotNumber: 17, "Jwt payload [nbf] field is not an integer";
    /// `nbf` is out of range.
    NbfRange: 18, "Jwt payload [nbf] field is not a positive 64 bit integer";
    /// `exp` is no number.
    ExpNotNumber: 19, "Jwt payload [exp] field is not an integer";
    /// `exp` is out of range.
    ExpRange: 20, "Jwt payload [exp] field is not a positive 64 bit integer";
    /// `jti` is no text.
    JtiNotText: 21, "Jwt payload [jti] field is not a string";
    /// `aud` is neither text nor texts.
    AudNotText: 22, "Jwt payload [aud] field is not a string or string list";
    /// The signature is no Base64.
    SignatureBase64: 23, "Jwt signature is an invalid Base64url encoded";
    /// Nobody here knows its issuer.
    UnknownIssuer: 24, "Jwt issuer is not configured";
    /// It is for others.
    AudienceNotAllowed: 25, "Audiences in Jwt are not allowed";
    /// The signature is not by one of the keys.
    VerificationFails: 26, "Jwt verification fails";
    /// There are no keys.
    NoValidKeys: 30, "Jwks doesn't have any valid public key";
    /// None of the keys is the one that it names.
    NoKeyFits: 31, "Jwks doesn't have key to match kid or alg from Jwt";
    /// Keys cannot be fetched.
    FetchFails: 38, "Jwks remote fetch is failed";
}

impl Status {
    /// The status of the answer.
    pub fn http(self) -> StatusCode {
        match self {
            Self::AudienceNotAllowed => StatusCode::FORBIDDEN,
            _ => StatusCode::UNAUTHORIZED,
        }
    }

    /// Does it speak of a token that was meant for this check? Others are told first, where several checks fail.
    pub fn is_about_token(self) -> bool {
        !matches!(self, Self::Missing | Self::UnknownIssuer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details() {
        assert_eq!(Status::Missing.details(), "jwt_authn_access_denied{Jwt_is_missing}");
        for status in Status::ALL {
            let expected = format!("jwt_authn_access_denied{{{}}}", status.text().replace(' ', "_"));
            assert_eq!(status.details(), expected);
        }
    }
}
