//! `cargo xtask races`: the tests of threads under ThreadSanitizer, which tells accesses to the same memory that nothing orders.
//!
//! It needs the nightly toolchain with the sources of the standard library (`rustup component add rust-src --toolchain
//! nightly`): locks and channels must be built with the sanitizer too, or it does not see what they order. Linux on x86-64 and
//! AArch64. <https://doc.rust-lang.org/beta/unstable-book/compiler-flags/sanitizer.html#threadsanitizer>

use crate::process::{self, Error};
use crate::tally::{Outcome, Tally};
use crate::workspace;

/// Package and choice of tests, by what they hold.
const TESTS: &[(&str, &[&str])] = &[
    (
        "the pool and what it shares out",
        &["--package", "runtime-kernels", "--lib", "threads::"],
    ),
    (
        "the turns of callers",
        &["--package", "runtime-session", "--lib", "turns::"],
    ),
    (
        "sessions run by several threads",
        &["--package", "runtime-session", "--test", "threads"],
    ),
];

pub(crate) fn run(_: &[String]) -> Result<Tally, Error> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let folder = workspace::target().join("races");
    let mut total = Tally::default();
    for (what, tests) in TESTS {
        println!("==> {what}");
        let test = ["run", "nightly", "cargo", "test", "-Zbuild-std"];
        let mut command = process::command("rustup", &test);
        command
            .args(["--target", &target, "--target-dir"])
            .arg(&folder)
            .args(*tests)
            // The cargo that started this program must not speak for the other toolchain.
            .env_remove("CARGO")
            .env_remove("RUSTUP_TOOLCHAIN")
            .env("RUSTFLAGS", "-Zsanitizer=thread")
            .env("TSAN_OPTIONS", "halt_on_error=1");
        let ended_well = process::stream(&mut command, |line| {
            if let Some(counts) = Tally::from_result_line(line) {
                total += counts;
            }
        })?;
        if !ended_well && total.failed == 0 {
            total += Tally::of_one(Outcome::Failed);
        }
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    Ok(total)
}
