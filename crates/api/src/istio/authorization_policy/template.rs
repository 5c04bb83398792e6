//! Templates of paths: `{*}` stands for one segment, `{**}` for any number of them (Istio's words for Envoy's URI templates).

/// One segment.
const ONE: &str = "{*}";
/// Any number of segments.
const ANY: &str = "{**}";

/// Is a path meant as a template?
pub fn is_path_template(path: &str) -> bool {
    path.contains(ONE) || path.contains(ANY)
}

/// What is wrong with a template. Other wildcards and names do not stand in one, each operator is a whole segment, and
/// `{**}` is the last of them.
pub(super) fn fault(path: &str) -> Option<&'static str> {
    if !path.starts_with('/') {
        return Some("a template begins with `/`");
    }
    let mut after_any = false;
    let whole = path.strip_suffix('/').unwrap_or(path);
    for segment in whole.split('/').skip(1) {
        match segment {
            ONE | ANY if after_any => return Some("`{**}` has to be the last operator"),
            ONE => {}
            ANY => after_any = true,
            "" => return Some("a segment is empty"),
            literal if literal.contains(['{', '}', '*']) => {
                return Some("`{*}` and `{**}` are whole segments, and no other operator or `*` stands in a template");
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar() {
        for (path, good) in [
            ("/foo/{*}", true),
            ("/foo/{*}/bar/{**}", true),
            ("/{**}/", true),
            ("/{**}/baz", true),
            ("/{*}/{*}", true),
            ("foo/{*}", false),
            ("/foo/{**}/bar/{*}", false),
            ("/{**}/{**}", false),
            ("/foo{*}", false),
            ("/{*}.html", false),
            ("/{*}/*", false),
            ("/{*}/{name}", false),
            ("/{*}/{name=*}", false),
            ("/a//{*}", false),
        ] {
            assert_eq!((is_path_template(path), fault(path).is_none()), (true, good), "{path}");
        }
        for path in ["/foo", "/foo*", "*", "/{name}"] {
            assert!(!is_path_template(path), "{path}");
        }
    }
}
