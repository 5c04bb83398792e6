//! Users, tokens, and the record of what was changed.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where the dashboard is, with a key for its caller's browser that is good once and for five minutes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DashboardKey {
    /// Its address.
    pub address: SocketAddr,
    /// The page to open. A secret.
    pub url: String,
}

impl fmt::Debug for DashboardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DashboardKey({}, secret)", self.address)
    }
}

/// What somebody may do at the API. Each may what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Read everything but secrets.
    Viewer,
    /// Change resources too, in all namespaces or in those that are named.
    Operator,
    /// Everything: users, tokens, and what lets workloads join.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        })
    }
}

impl FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "viewer" => Ok(Self::Viewer),
            "operator" => Ok(Self::Operator),
            "admin" => Ok(Self::Admin),
            other => Err(format!("`{other}` is no role; expected `viewer`, `operator` or `admin`")),
        }
    }
}

/// A user is made, or made anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRequest {
    /// What the user may do.
    pub role: Role,
    /// Of an operator: the namespaces whose resources may be changed. None: all, and what belongs to no namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<String>>,
    /// A SPIFFE ID: who shows a certificate of it at the API is this user, without a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserView {
    /// The name.
    pub name: String,
    /// What the user may do.
    #[serde(flatten)]
    pub says: UserRequest,
    /// Since when there is such a user.
    pub created: String,
    /// How many tokens of the user are good now.
    pub tokens: usize,
    /// When one of the tokens was used last; to the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<String>,
}

/// Every user, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserList {
    /// By name.
    pub users: Vec<UserView>,
}

/// Who asks, as the control plane sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whoami {
    /// Who: `user alice`, `uid 1000`.
    pub who: String,
    /// From where.
    pub from: String,
    /// What the caller may do.
    pub role: Role,
    /// The namespaces of an operator, if they are not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<String>>,
}

/// A token for a user is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserTokenRequest {
    /// How long it is good, in seconds. Default 8 hours; at most 366 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_s: Option<u64>,
}

/// A token that was made. It is shown here, and never again.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedToken {
    /// The secret, for `authorization: Bearer`.
    pub token: String,
    /// Names it; no secret.
    pub id: String,
    /// Whose it is.
    pub user: String,
    /// Until when it is good.
    pub expires: String,
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IssuedToken({} of {}, secret)", self.id, self.user)
    }
}

/// A user's token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserTokenView {
    /// Names it.
    pub id: String,
    /// Whose it is.
    pub user: String,
    /// When it was made.
    pub created: String,
    /// Until when it is good.
    pub expires: String,
    /// Its time is over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub expired: bool,
    /// When it was used last; to the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<String>,
}

/// Every user's tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserTokenList {
    /// By user and time.
    pub tokens: Vec<UserTokenView>,
}

/// A join token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinTokenView {
    /// Names it.
    pub id: String,
    /// The identity that it is good for.
    pub identity: String,
    /// When it was made.
    pub created: String,
    /// Until when it is good.
    pub expires: String,
    /// `open`, `used`, `revoked` or `expired`.
    pub state: String,
}

/// Join tokens: those that are good, and the others for a week after their end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinTokenList {
    /// By time.
    pub tokens: Vec<JoinTokenView>,
}

/// What became of something that was to be taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// What is gone.
    pub removed: String,
}
