//! The signals that a supervisor passes on to its program.

use std::io;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens to SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1 and SIGUSR2.
///
/// Those that the caller of this process had set to be ignored (`nohup`, a shell's background job) stay ignored, here
/// and in the program.
pub(crate) struct Signals(Vec<(i32, Signal)>);

impl Signals {
    /// From now on these signals do not end this process.
    pub(crate) fn listen() -> io::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kinds = [
            SignalKind::hangup(),
            SignalKind::interrupt(),
            SignalKind::quit(),
            SignalKind::terminate(),
            SignalKind::user_defined1(),
            SignalKind::user_defined2(),
        ];
        let heard = kinds.into_iter().filter(|kind| !is_ignored(&status, kind.as_raw_value()));
        Ok(Self(heard.map(|kind| Ok((kind.as_raw_value(), signal(kind)?))).collect::<io::Result<_>>()?))
    }

    /// The number of the next signal. Nothing is lost if this is cancelled.
    pub(crate) async fn next(&mut self) -> i32 {
        std::future::poll_fn(|cx| {
            for (number, signal) in &mut self.0 {
                if let Poll::Ready(Some(())) = signal.poll_recv(cx) {
                    return Poll::Ready(*number);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// The next signal that asks to end: SIGHUP, SIGINT, SIGQUIT or SIGTERM.
    pub(crate) async fn next_ending(&mut self) -> i32 {
        loop {
            let number = self.next().await;
            if number != SignalKind::user_defined1().as_raw_value()
                && number != SignalKind::user_defined2().as_raw_value()
            {
                return number;
            }
        }
    }
}

/// `SigIgn` of `/proc/self/status` is a mask; bit n-1 stands for signal n.
fn is_ignored(status: &str, number: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask >> (number - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks() {
        let status = "Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000002\n";
        for (number, expected) in [(1, true), (2, false), (13, true), (15, false)] {
            assert_eq!(is_ignored(status, number), expected, "signal {number}");
        }
        assert!(!is_ignored("", 1));
    }
}
