//! The two macros in which schemas are written.

/// A mapping: the struct, and how it is read.
///
/// ```text
/// object! {
///     /// What it is.
///     Istio struct PortSelector {
///         /// What the field is.
///         number "number" (required): Spanned<u32>,
///     }
/// }
/// ```
///
/// The word before `struct` is a [`Naming`](super::Naming). The text after a field's name is its name in documents.
macro_rules! object {
    ($(#[$doc:meta])* $naming:ident struct $name:ident {
        $( $(#[$field_doc:meta])* $field:ident $json:literal $(($rule:ident))? : $type:ty ),* $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name {
            $( $(#[$field_doc])* pub $field: $type, )*
        }

        impl $crate::decode::Decode for $name {
            fn decode(node: &$crate::yaml::Node, report: &mut $crate::report::Report) -> Option<Self> {
                const NAMES: &[&str] = &[$($json),*];
                #[allow(unused_variables)]
                let fields = $crate::decode::Fields::open(node, NAMES, $crate::decode::Naming::$naming, report)?;
                Some(Self { $( $field: $crate::decode::object!(@read fields report $json $($rule)?), )* })
            }
        }
    };
    (@read $fields:ident $report:ident $json:literal) => { $fields.take($json, $report) };
    (@read $fields:ident $report:ident $json:literal required) => { $fields.require($json, $report) };
}

/// An enumeration written as a word: the enum, its words, and how it is read. The first variant is the default.
macro_rules! choice {
    ($(#[$doc:meta])* enum $name:ident { $( $(#[$variant_doc:meta])* $variant:ident $word:literal ),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $( $(#[$variant_doc])* $variant, )*
        }

        impl $name {
            const ALL: &'static [$name] = &[$(Self::$variant),*];

            /// The word that stands for it in documents.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::ALL[0]
            }
        }

        impl $crate::decode::Decode for $name {
            fn decode(node: &$crate::yaml::Node, report: &mut $crate::report::Report) -> Option<Self> {
                const WORDS: &[&str] = &[$($word),*];
                let index = $crate::decode::word(node, WORDS, report)?;
                Self::ALL.get(index).copied()
            }
        }
    };
}

pub(crate) use {choice, object};
