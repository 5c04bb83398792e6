//! Memory that nothing needs any more goes back to the system at once, not when the allocator next happens to look.

use std::fs;

use rustix::mm::{Advice, madvise};

/// Gives back what the calling thread has freed and its allocator keeps for later. Costs up to milliseconds: for moments
/// when a thread has become quiet. No effect in a program whose allocator is not mimalloc.
pub fn give_back() {
    #[expect(unsafe_code, reason = "the allocator's own call has no safe form")]
    // SAFETY: mimalloc allows this call at any time and from any thread; it touches nothing that is in use.
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}

/// Lets go of the pages of the program's own code and constants. Those still in use come back from the system's cache when
/// they are next run or read; those that only the start, or what is over now, needed stay away. For moments when a program
/// has become quiet.
pub fn forget_code() {
    let Ok(maps) = fs::read_to_string("/proc/self/maps") else { return };
    let Ok(program) = fs::read_link("/proc/self/exe") else { return };
    for (start, length) in unchanging(&maps, &program.to_string_lossy()) {
        #[expect(unsafe_code, reason = "advice about memory has no safe form")]
        // SAFETY: the range is a mapping of the program's file that the kernel itself reports as not writable, and one
        // in which nothing was ever changed (relocations lie elsewhere). The file cannot be written to while it runs, so
        // what comes back is what was there.
        let advised = unsafe { madvise(std::ptr::without_provenance_mut(start), length, Advice::LinuxDontNeed) };
        if advised.is_err() {
            return;
        }
    }
}

/// Start and length of what is never written in `program`, from the lines of `/proc/self/maps`: its code, and the constants
/// before it, which begin with the file. What is only read further on was written by the loader, which adjusted addresses in it.
fn unchanging<'a>(maps: &'a str, program: &'a str) -> impl Iterator<Item = (usize, usize)> {
    maps.lines().filter_map(move |line| {
        let mut fields = line.splitn(6, ' ');
        let (range, rights, offset) = (fields.next()?, fields.next()?, fields.next()?);
        let is_wanted = match rights {
            "r-xp" => true,
            "r--p" => offset.bytes().all(|digit| digit == b'0'),
            _ => false,
        };
        let is_ours = fields.last()?.trim_start() == program;
        let (start, end) = range.split_once('-').filter(|_| is_wanted && is_ours)?;
        let [start, end] = [start, end].map(|text| usize::from_str_radix(text, 16));
        let start = start.ok()?;
        Some((start, end.ok()?.checked_sub(start)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_ours_and_unchanging_is_found() {
        let maps = "\
55d000000000-55d000200000 r--p 00000000 fe:00 7 /bin/proxy\n\
55d000200000-55d000300000 r-xp 00200000 fe:00 7 /bin/proxy\n\
55d000300000-55d000308000 r--p 00300000 fe:00 7 /bin/proxy\n\
55d000308000-55d000310000 rw-p 00308000 fe:00 7 /bin/proxy\n\
7f0000000000-7f0000100000 r-xp 00000000 fe:00 8                          /lib/libc.so.6\n\
7f0000200000-7f0000300000 r-xp 00000000 fe:00 9                          /other/bin/proxy\n\
7ffd00000000-7ffd00001000 r-xp 00000000 00:00 0 [vdso]\n";
        let constants_and_code = [(0x55d0_0000_0000, 0x20_0000), (0x55d0_0020_0000, 0x10_0000)];
        assert_eq!(unchanging(maps, "/bin/proxy").collect::<Vec<_>>(), constants_and_code);
        assert_eq!(unchanging(maps, "").count(), 0);
        assert_eq!(unchanging(maps, "/lib/libc.so.6").count(), 1);
    }

    #[test]
    fn the_program_goes_on() {
        let before: Vec<u64> = (0..10_000).collect();
        forget_code();
        give_back();
        assert_eq!(before.iter().sum::<u64>(), 49_995_000);
    }
}
