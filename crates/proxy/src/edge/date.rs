//! The `date` header (RFC 9110, section 6.6.1), written once a second.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderValue;

thread_local! {
    /// The second that was written last, and what was written.
    static LAST: RefCell<(u64, HeaderValue)> = const { RefCell::new((u64::MAX, HeaderValue::from_static(""))) };
}

/// The present time.
pub(super) fn now() -> HeaderValue {
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    LAST.with_borrow_mut(|(written, value)| {
        if *written != second {
            (*written, *value) = (second, super::value(&httpdate::fmt_http_date(now)));
        }
        value.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_is_now() {
        let before = SystemTime::now();
        let told = httpdate::parse_http_date(now().to_str().expect("a date")).expect("a date");
        let off = before.duration_since(told).unwrap_or_default();
        assert!(off.as_secs() <= 1, "{told:?} beside {before:?}");
    }
}
