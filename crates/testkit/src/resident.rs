//! Physical memory of a process, as the system counts it in `/proc`; `None` where there is no such file.

/// The bytes that this process has in memory at present (`VmRSS`).
pub fn now() -> Option<u64> {
    field("self", "VmRSS:")
}

/// The most bytes that this process has had in memory so far (`VmHWM`).
pub fn peak() -> Option<u64> {
    field("self", "VmHWM:")
}

/// As [`peak`], of the process with this id.
pub fn peak_of(process: u32) -> Option<u64> {
    field(&process.to_string(), "VmHWM:")
}

fn field(process: &str, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_written_counts_and_the_peak_stays() {
        let before = now().unwrap();
        let written = vec![1u8; 64 << 20];
        let with = now().unwrap();
        assert!(with >= before + (60 << 20), "{before} {with}");
        drop(written);
        // The system counts in lots of pages on each core.
        let peaks = [peak(), peak_of(std::process::id())];
        assert!(peaks.iter().all(|peak| peak.unwrap() + (4 << 20) >= with));
        assert_eq!(peak_of(u32::MAX), None);
    }
}
