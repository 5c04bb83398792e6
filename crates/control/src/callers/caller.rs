//! A caller that has proven who it is, and what it may do.

use std::collections::BTreeSet;

use api::ResourceKey;

use crate::audit::Author;
use crate::v1::{Role, Whoami};

/// What a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    /// To see everything but secrets.
    Read,
    /// To look at single requests, with their headers.
    Tap,
    /// To change resources. Of which namespaces is decided when it is known what is changed.
    Write,
    /// To say who may do what, and who may join.
    Administer,
}

impl Right {
    fn role(self) -> Role {
        match self {
            Self::Read => Role::Viewer,
            Self::Tap | Self::Write => Role::Operator,
            Self::Administer => Role::Admin,
        }
    }
}

/// A caller of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Who, and from where, as the audit log says it.
    pub by: Author,
    /// What it may do.
    pub role: Role,
    /// The namespaces that an operator may write to; none: all.
    pub namespaces: Option<BTreeSet<String>>,
    /// By what it was known.
    pub by_means_of: Means,
}

/// By what a caller was known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Means {
    /// The kernel vouched for it.
    #[default]
    Kernel,
    /// This user's token, by its number.
    Token(String),
    /// A certificate of this user.
    Certificate(String),
}

/// A right that is missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{who} is {role}, and may not do this: it needs the role `{needed}`{place}")]
pub(crate) struct Denied {
    who: String,
    role: String,
    needed: Role,
    place: String,
}

impl Denied {
    /// For the audit log, where who it was stands beside it.
    pub fn reason(&self) -> String {
        format!("it needs the role `{}`{}, and the caller is {}", self.needed, self.place, self.role)
    }
}

impl Caller {
    /// May it make calls of this kind at all?
    pub fn needs(&self, right: Right) -> Result<(), Denied> {
        if self.role >= right.role() { Ok(()) } else { Err(self.denied(right.role(), String::new())) }
    }

    /// May it change these resources?
    pub fn needs_to_write<'a>(&self, keys: impl IntoIterator<Item = &'a ResourceKey>) -> Result<(), Denied> {
        for key in keys {
            let allowed = match (&self.namespaces, &key.namespace) {
                (None, _) => true,
                (Some(own), Some(namespace)) => own.contains(namespace),
                (Some(_), None) => false,
            };
            if self.role < Role::Operator || !allowed {
                let place = match &key.namespace {
                    Some(namespace) => format!(" in the namespace `{namespace}`, for {key}"),
                    None => format!(" in all namespaces, for {key}"),
                };
                return Err(self.denied(Role::Operator, place));
            }
        }
        Ok(())
    }

    /// As the caller is told who it is.
    pub fn whoami(&self) -> Whoami {
        Whoami {
            who: self.by.who.clone(),
            from: self.by.from.clone(),
            role: self.role,
            namespaces: self.namespaces.as_ref().map(|own| own.iter().cloned().collect()),
        }
    }

    fn denied(&self, needed: Role, place: String) -> Denied {
        let own = self.namespaces.iter().flatten().cloned().collect::<Vec<_>>().join("`, `");
        let role = match &self.namespaces {
            Some(_) => format!("`{}` in the namespaces `{own}`", self.role),
            None => format!("`{}`", self.role),
        };
        Denied { who: self.by.who.clone(), role, needed, place }
    }
}

#[cfg(test)]
mod tests {
    use api::Kind;

    use super::*;

    fn caller(role: Role, namespaces: Option<&[&str]>) -> Caller {
        let namespaces = namespaces.map(|list| list.iter().map(|n| (*n).to_owned()).collect());
        Caller { by: Author::new("user alice", "local"), role, namespaces, by_means_of: Means::Kernel }
    }

    #[test]
    fn roles_hold_the_ones_before_them() {
        use Right::*;
        for (role, allowed) in [
            (Role::Viewer, [true, false, false]),
            (Role::Operator, [true, true, false]),
            (Role::Admin, [true, true, true]),
        ] {
            assert_eq!(
                [Read, Write, Administer].map(|right| caller(role, None).needs(right).is_ok()),
                allowed,
                "{role}"
            );
        }
    }

    #[test]
    fn namespaces_bound_what_is_written() {
        let key = |kind, namespace: Option<&str>| ResourceKey {
            kind,
            namespace: namespace.map(str::to_owned),
            name: "x".to_owned(),
        };
        let shop = key(Kind::VirtualService, Some("shop"));
        let (other, of_none) = (key(Kind::Secret, Some("other")), key(Kind::Namespace, None));
        let check = |caller: &Caller, key: &ResourceKey, expected: &str| {
            let told = caller.needs_to_write([key]).err().map(|denied| denied.to_string()).unwrap_or_default();
            assert!(told.contains(expected) && told.is_empty() == expected.is_empty(), "{told}");
        };
        let one = caller(Role::Operator, Some(&["shop"]));
        check(&one, &shop, "");
        check(
            &one,
            &other,
            "`operator` in the namespaces `shop`, and may not do this: it needs the role `operator` in the namespace `other`, for Secret/other/x",
        );
        check(&one, &of_none, "in all namespaces, for Namespace/x");
        let everywhere = caller(Role::Operator, None);
        [&shop, &other, &of_none].iter().for_each(|key| check(&everywhere, key, ""));
        check(&caller(Role::Viewer, None), &shop, "is `viewer`");
    }
}
