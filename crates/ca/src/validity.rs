//! When a certificate is renewed: pure functions of its validity.

use std::time::{Duration, SystemTime};

/// How far before its issuing a certificate is already valid, against clocks that run behind (as in Istio).
pub const BACK_DATE: Duration = Duration::from_secs(120);

/// When to renew: at half of the life, moved by `jitter`, a part of the life from -0.25 to 0.25 (values beyond
/// are cut), so that a fleet that started together does not ask together.
///
/// The life counts from the issuing, not from the back-dated start, so that a short-lived certificate is not due at once.
pub fn renewal_time(not_before: SystemTime, not_after: SystemTime, jitter: f64) -> SystemTime {
    let issued = Some(not_before + BACK_DATE).filter(|issued| *issued < not_after).unwrap_or(not_before);
    let life = not_after.duration_since(issued).unwrap_or_default();
    let jitter = if jitter.is_finite() { jitter.clamp(-0.25, 0.25) } else { 0.0 };
    issued + life.mul_f64(0.5 + jitter)
}

/// Is a certificate with this end out of date?
pub fn is_expired(not_after: SystemTime, now: SystemTime) -> bool {
    now > not_after
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_life_with_jitter() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let hour = 3600.0;
        for (life_s, jitter, expected_s) in [
            (24.0 * hour, 0.0, 12.0 * hour),
            (24.0 * hour, 0.1, 14.4 * hour),
            (24.0 * hour, -0.1, 9.6 * hour),
            (24.0 * hour, 7.0, 18.0 * hour),
            (24.0 * hour, f64::NAN, 12.0 * hour),
            (10.0, 0.0, 5.0),
        ] {
            let at = renewal_time(start - BACK_DATE, start + Duration::from_secs_f64(life_s), jitter);
            let after = at.duration_since(start).unwrap().as_secs_f64();
            assert!((after - expected_s).abs() < 0.001, "{life_s} s with {jitter}: {after} s");
        }
        assert_eq!(renewal_time(start, start, 0.0), start);
        assert!(is_expired(start, start + Duration::from_secs(1)) && !is_expired(start, start));
    }
}
