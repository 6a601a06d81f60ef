//! Whether the systemd journal reads what we write.

use std::os::unix::fs::MetadataExt;

/// True if standard error leads to the journal itself: systemd tells device and inode of the stream that it gave us
/// (sd-daemon(3)), and a shell in between may have sent ours elsewhere.
pub fn is_journal_reading() -> bool {
    let told = std::env::var("JOURNAL_STREAM").ok();
    let ours = std::fs::metadata("/proc/self/fd/2").ok().map(|found| (found.dev(), found.ino()));
    is_same(told.as_deref(), ours)
}

fn is_same(told: Option<&str>, ours: Option<(u64, u64)>) -> bool {
    let told = told.and_then(|text| {
        let (device, inode) = text.split_once(':')?;
        Some((device.parse().ok()?, inode.parse().ok()?))
    });
    told.is_some() && told == ours
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_stream_counts() {
        assert!(is_same(Some("8:4711"), Some((8, 4711))));
        for (told, ours) in [
            (None, None),
            (None, Some((8, 4711))),
            (Some("8:4712"), Some((8, 4711))),
            (Some("8"), Some((8, 4711))),
            (Some("x:y"), None),
        ] {
            assert!(!is_same(told, ours), "{told:?} {ours:?}");
        }
    }
}
