//! Istio rules that the checks write themselves.

/// A VirtualService for reviews that sends everything to one subset.
pub fn reviews_to(subset: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: reviews\nspec:\n  hosts: [reviews]\n  \
         http:\n    - route:\n        - destination: {{host: reviews, subset: {subset}}}\n"
    )
}

/// A VirtualService for reviews that splits between two subsets; `share` percent go to the first.
pub fn reviews_split(first: &str, share: u32, second: &str) -> String {
    format!(
        "{}          weight: {share}\n        - destination: {{host: reviews, subset: {second}}}\n          weight: {}\n",
        reviews_to(first),
        100 - share
    )
}
