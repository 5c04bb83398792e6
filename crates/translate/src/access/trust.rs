//! Trust domains in policies. The domain of the mesh, each that stands for the same, and `cluster.local` mean all of them
//! (Istio's trust domain migration); others are left as they are written.

/// What `cluster.local` in a policy means is the mesh's own, whatever it is called.
const OWN: &str = "cluster.local";

/// Identities that are meant by those that a policy names.
pub fn principals(written: &str, domains: &[&str]) -> Vec<String> {
    let parts: Vec<&str> = written.split('/').collect();
    // Only whole identities name a trust domain.
    let [domain, rest @ ..] = &parts[..] else { return vec![written.to_owned()] };
    if rest.len() != 4 || *domain == "*" || !(*domain == OWN || domains.iter().any(|own| fits(own, domain))) {
        return vec![written.to_owned()];
    }
    let mut all = Vec::new();
    for own in domains {
        let one = match domain.strip_prefix('*') {
            Some(end) if own.ends_with(end) => written.to_owned(),
            _ => format!("{own}/{}", rest.join("/")),
        };
        if !all.contains(&one) {
            all.push(one);
        }
    }
    all
}

/// Trust domains that are meant by one that a policy names.
pub fn domains<'a>(written: &'a str, domains: &[&'a str]) -> Vec<&'a str> {
    if written == OWN || domains.contains(&written) { domains.to_vec() } else { vec![written] }
}

/// Is a domain of the mesh one that was written, with `*` at one end?
fn fits(own: &str, written: &str) -> bool {
    match (written.strip_prefix('*'), written.strip_suffix('*')) {
        (Some(end), _) => own.ends_with(end),
        (None, Some(beginning)) => own.starts_with(beginning),
        (None, None) => own == written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases() {
        for (written, own, expected) in [
            ("cluster.local/ns/a/sa/b", &["cluster.local"][..], &["cluster.local/ns/a/sa/b"][..]),
            ("cluster.local/ns/a/sa/b", &["td"], &["td/ns/a/sa/b"]),
            ("td2/ns/a/sa/b", &["td1", "td2"], &["td1/ns/a/sa/b", "td2/ns/a/sa/b"]),
            ("other/ns/a/sa/b", &["td1", "td2"], &["other/ns/a/sa/b"]),
            ("*/ns/a/sa/b", &["td1", "td2"], &["*/ns/a/sa/b"]),
            ("*-td/ns/a/sa/b", &["old-td", "new-td"], &["*-td/ns/a/sa/b"]),
            ("*-td/ns/a/sa/b", &["old-td", "x"], &["*-td/ns/a/sa/b", "x/ns/a/sa/b"]),
            ("*", &["td"], &["*"]),
            ("*/sa/b", &["td"], &["*/sa/b"]),
            ("td/*", &["td", "x"], &["td/*"]),
        ] {
            assert_eq!(principals(written, own), expected, "{written}");
        }
        assert_eq!(domains("td", &["td", "x"]), ["td", "x"]);
        assert_eq!(domains("cluster.local", &["td"]), ["td"]);
        assert_eq!(domains("other", &["td"]), ["other"]);
    }
}
