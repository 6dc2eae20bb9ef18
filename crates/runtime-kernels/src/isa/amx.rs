//! AMX (`amx-tile`, `amx-int8`): products of tiles of 16 rows by 64 bytes, `tdpbusd`.
//!
//! Eight registers hold a tile each: four of sums, two of the left and two of the right operand. Their extents are a state of
//! the thread, which [`Tiles`] sets and takes back. The rest of a kernel is that of AVX-512 with VNNI, whose packed panels are what
//! tiles of the right operand are read from.
//!
//! Sources: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18; the Linux kernel's
//! Documentation/arch/x86/xstate.rst.

use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, _xgetbv, CpuidResult};
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::OnceLock;

use super::Avx512Vnni;

/// Proof that the CPU has what [`Avx512Vnni`] proves, and AMX for bytes, and that the system lets this process use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512Amx(Avx512Vnni);

impl Avx512Amx {
    /// The token, if this CPU has the features and the operating system (Linux) grants their state.
    ///
    /// Asking changes the process: once granted, signal stacks of its threads need room for the tiles (some 11 KiB), and a smaller
    /// `sigaltstack` is refused. `MODELPRESS_ISA=avx512vnni` keeps [`Isa::best`](super::Isa::best) from asking.
    pub fn detect() -> Option<Self> {
        static GRANTED: OnceLock<bool> = OnceLock::new();
        let base = Avx512Vnni::detect()?;
        GRANTED
            .get_or_init(|| has_tiles() && is_permitted())
            .then_some(Self(base))
    }

    /// The instruction set that this one extends.
    pub(crate) fn base(self) -> Avx512Vnni {
        self.0
    }
}

/// A leaf of `cpuid`.
fn cpuid(leaf: u32, part: u32) -> CpuidResult {
    #[allow(unused_unsafe, reason = "safe in later versions of Rust")]
    // SAFETY: every x86-64 CPU has the instruction.
    unsafe {
        __cpuid_count(leaf, part)
    }
}

/// Whether CPU and system know of tiles and their products of bytes.
fn has_tiles() -> bool {
    const AMX_TILE: u32 = 1 << 24;
    const AMX_INT8: u32 = 1 << 25;
    const OSXSAVE: u32 = 1 << 27;
    const PALETTES: u32 = 0x1d;
    const TILE_STATES: u64 = 0b11 << 17;
    if cpuid(0, 0).eax < PALETTES || cpuid(1, 0).ecx & OSXSAVE == 0 {
        return false;
    }
    let features = cpuid(7, 0).edx;
    if features & AMX_TILE == 0 || features & AMX_INT8 == 0 {
        return false;
    }
    // What the first palette offers: bytes of a tile's row, names and rows.
    let palette = cpuid(PALETTES, 1);
    let (row_bytes, names) = (palette.ebx & 0xffff, palette.ebx >> 16);
    if row_bytes < 64 || names < 8 || palette.ecx & 0xffff < TILE as u32 {
        return false;
    }
    // SAFETY: OSXSAVE tells that the instruction is there.
    let states = unsafe { _xgetbv(0) };
    states & TILE_STATES == TILE_STATES
}

/// Asks the system for the state of the tiles, which it does not give unasked.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
fn is_permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_XTILEDATA: u64 = 18;
    let result: i64;
    // SAFETY: the system call reads no memory of this process and changes nothing but the permission; it writes the registers named.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack)
        );
    }
    result == 0
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
fn is_permitted() -> bool {
    false
}

/// Rows of a tile, and words of its rows of sums.
pub(crate) const TILE: usize = 16;
/// Rows and columns of a block of sums: two tiles.
pub(crate) const BLOCK: usize = 2 * TILE;
/// Words of a row of a tile of operands at most.
pub(crate) const MAX_GROUPS: usize = 16;

/// The sums of a block, in rows of [`BLOCK`] words.
#[repr(C, align(64))]
pub(crate) struct BlockSums(pub(crate) [i32; BLOCK * BLOCK]);

/// The left operand of a block: rows at regular distances, read in steps of as many words as [`Tiles`] were made for.
#[derive(Clone, Copy)]
pub(crate) struct BlockRows<'a> {
    /// All that is read, from the first row on.
    pub(crate) bytes: &'a [u8],
    /// From a row to the next.
    pub(crate) stride: usize,
    /// From the first row of the first tile to that of the second.
    pub(crate) second: usize,
    pub(crate) steps: Steps<'a>,
}

/// Where each step of the reduction starts in a row, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Steps<'a> {
    starts: &'a [usize],
    /// The greatest of them.
    last: usize,
}

impl<'a> Steps<'a> {
    pub(crate) fn new(starts: &'a [usize]) -> Self {
        let last = starts.iter().copied().max().unwrap_or(0);
        Self { starts, last }
    }
}

/// Tiles of one size of operands, as long as this lives.
pub(crate) struct Tiles {
    groups: usize,
    /// The state is one of the thread.
    here: PhantomData<*const ()>,
}

thread_local! {
    static IN_USE: Cell<bool> = const { Cell::new(false) };
}

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Tiles {
    /// Tiles whose steps of the reduction are of `groups` words of four bytes.
    ///
    /// # Panics
    /// Where that is none or more than [`MAX_GROUPS`], or where this thread has tiles already.
    pub(crate) fn new(_: Avx512Amx, groups: usize) -> Self {
        assert!((1..=MAX_GROUPS).contains(&groups));
        assert!(!IN_USE.replace(true), "tiles of one size at a time");
        let mut config = Config {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        config.row_bytes[..8].fill(4 * TILE as u16);
        config.rows[..8].fill(TILE as u8);
        config.row_bytes[4..6].fill(4 * groups as u16);
        config.rows[6..8].fill(groups as u8);
        // SAFETY: the token proves the instruction; `config` is 64 bytes of palette 1 with extents within its limits. No code of Rust or C uses
        // tiles unasked, so that what is configured stays until this is dropped.
        unsafe {
            asm!(
                "ldtilecfg [{}]",
                in(reg) &raw const config,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, readonly, preserves_flags)
            );
        }
        Self {
            groups,
            here: PhantomData,
        }
    }

    /// The sums of products of as many tiles as hold `live` rows and columns, with a panel of two tiles of columns. Tiles that are not
    /// asked for keep what was there.
    ///
    /// # Panics
    /// Where there are no steps, or the rows or the panel do not have what the steps read.
    pub(crate) fn multiply(
        &self,
        rows: &BlockRows<'_>,
        panel: &[i32],
        live: (usize, usize),
        sums: &mut BlockSums,
    ) {
        let (two_rows, two_cols) = (live.0 > TILE, live.1 > TILE);
        let step = self.groups * BLOCK;
        let steps = rows.steps.starts;
        let second = if two_rows { rows.second } else { 0 };
        let reach = (rows.stride.saturating_mul(TILE - 1))
            .saturating_add(second)
            .saturating_add(rows.steps.last)
            .saturating_add(4 * self.groups);
        assert!(
            !steps.is_empty()
                && reach <= rows.bytes.len()
                && steps.len().saturating_mul(step) <= panel.len()
        );
        let operands = Operands {
            rows: rows.bytes.as_ptr(),
            second: rows.bytes[second..].as_ptr(),
            stride: rows.stride,
            steps,
            panel: panel.as_ptr(),
            step: 4 * step,
            sums: sums.0.as_mut_ptr(),
        };
        // SAFETY: an `Avx512Amx` made this, whose configuration holds while it lives; rows, panel and sums were found to hold what is read
        // and written, all of which was compared above.
        unsafe {
            match (two_rows, two_cols) {
                (true, true) => operands.two_by_two(),
                (true, false) => operands.two_by_one(),
                (false, true) => operands.one_by_two(),
                (false, false) => operands.one_by_one(),
            }
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: an `Avx512Amx` made this.
        unsafe {
            asm!(
                "tilerelease",
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, nomem, preserves_flags)
            );
        }
        IN_USE.set(false);
    }
}

/// The operands of a block by their places.
struct Operands<'a> {
    rows: *const u8,
    second: *const u8,
    stride: usize,
    steps: &'a [usize],
    panel: *const i32,
    /// Bytes of the panel for a step.
    step: usize,
    sums: *mut i32,
}

/// A function of [`Operands`]: what is done before the steps, in each and after them. Sums are in tiles 0 to 3, rows in 4 and 5, columns in 6 and 7.
macro_rules! block {
    ($name:ident: [$($zero:literal)*] [$($step:literal)*] [$($store:literal)*]) => {
        /// # Safety
        /// This thread has [`Tiles`]; rows, panel and sums hold what the steps, of which there is one at least, read and write.
        #[inline]
        unsafe fn $name(&self) {
            // SAFETY: by the caller. Tiles hold nothing between two blocks.
            unsafe {
                asm!(
                    $($zero,)*
                    "2:",
                    "mov {place}, qword ptr [{steps}]",
                    "lea {at}, [{rows} + {place}]",
                    "add {place}, {second}",
                    $($step,)*
                    "add {steps}, 8",
                    "add {panel}, {step}",
                    "dec {count}",
                    "jnz 2b",
                    $($store,)*
                    place = out(reg) _,
                    at = out(reg) _,
                    steps = inout(reg) self.steps.as_ptr() => _,
                    count = inout(reg) self.steps.len() => _,
                    rows = in(reg) self.rows,
                    second = in(reg) self.second,
                    stride = in(reg) self.stride,
                    panel = inout(reg) self.panel => _,
                    step = in(reg) self.step,
                    line = in(reg) 4 * BLOCK,
                    sums = in(reg) self.sums,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack)
                );
            }
        }
    };
}

impl Operands<'_> {
    block!(two_by_two:
        ["tilezero tmm0" "tilezero tmm1" "tilezero tmm2" "tilezero tmm3"]
        [
            "tileloadd tmm4, [{at} + {stride}*1]"
            "tileloadd tmm6, [{panel} + {line}*1]"
            "tdpbusd tmm0, tmm4, tmm6"
            "tileloadd tmm7, [{panel} + {line}*1 + 64]"
            "tdpbusd tmm1, tmm4, tmm7"
            "tileloadd tmm5, [{place} + {stride}*1]"
            "tdpbusd tmm2, tmm5, tmm6"
            "tdpbusd tmm3, tmm5, tmm7"
        ]
        [
            "tilestored [{sums} + {line}*1], tmm0"
            "tilestored [{sums} + {line}*1 + 64], tmm1"
            "tilestored [{sums} + {line}*1 + 2048], tmm2"
            "tilestored [{sums} + {line}*1 + 2112], tmm3"
        ]
    );
    block!(two_by_one:
        ["tilezero tmm0" "tilezero tmm2"]
        [
            "tileloadd tmm4, [{at} + {stride}*1]"
            "tileloadd tmm6, [{panel} + {line}*1]"
            "tdpbusd tmm0, tmm4, tmm6"
            "tileloadd tmm5, [{place} + {stride}*1]"
            "tdpbusd tmm2, tmm5, tmm6"
        ]
        [
            "tilestored [{sums} + {line}*1], tmm0"
            "tilestored [{sums} + {line}*1 + 2048], tmm2"
        ]
    );
    block!(one_by_two:
        ["tilezero tmm0" "tilezero tmm1"]
        [
            "tileloadd tmm4, [{at} + {stride}*1]"
            "tileloadd tmm6, [{panel} + {line}*1]"
            "tdpbusd tmm0, tmm4, tmm6"
            "tileloadd tmm7, [{panel} + {line}*1 + 64]"
            "tdpbusd tmm1, tmm4, tmm7"
        ]
        [
            "tilestored [{sums} + {line}*1], tmm0"
            "tilestored [{sums} + {line}*1 + 64], tmm1"
        ]
    );
    block!(one_by_one:
        ["tilezero tmm0"]
        [
            "tileloadd tmm4, [{at} + {stride}*1]"
            "tileloadd tmm6, [{panel} + {line}*1]"
            "tdpbusd tmm0, tmm4, tmm6"
        ]
        ["tilestored [{sums} + {line}*1], tmm0"]
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows, a panel and the sums that they give.
    struct Case {
        rows: Vec<u8>,
        stride: usize,
        starts: Vec<usize>,
        panel: Vec<i32>,
        groups: usize,
    }

    impl Case {
        fn new(groups: usize, steps: usize) -> Self {
            let stride = 4 * groups * steps + 12;
            // Steps stand in no order.
            let starts = (0..steps).map(|i| 4 * groups * ((i + 1) % steps)).collect();
            let byte = |i: usize| (i * 37 + i / 251 * 101) as u8;
            Self {
                rows: (0..BLOCK * stride).map(byte).collect(),
                stride,
                starts,
                panel: (0..steps * groups * BLOCK)
                    .map(|i| i32::from_le_bytes([0, 1, 2, 3].map(|b| byte(4 * i + b + 7))))
                    .collect(),
                groups,
            }
        }

        fn rows_of(&self) -> BlockRows<'_> {
            BlockRows {
                bytes: &self.rows,
                stride: self.stride,
                second: TILE * self.stride,
                steps: Steps::new(&self.starts),
            }
        }

        fn sum(&self, row: usize, col: usize) -> i32 {
            let mut sum = 0;
            for (i, start) in self.starts.iter().enumerate() {
                for k in 0..4 * self.groups {
                    let u = self.rows[row * self.stride + start + k];
                    let word = self.panel[(i * self.groups + k / 4) * BLOCK + col];
                    sum += i32::from(u) * i32::from(word.to_le_bytes()[k % 4] as i8);
                }
            }
            sum
        }
    }

    #[test]
    fn blocks_of_every_shape_are_exact_and_leave_other_tiles_alone() {
        let Some(token) = Avx512Amx::detect() else {
            return;
        };
        for (groups, steps) in [(1, 1), (4, 3), (11, 2), (16, 1), (16, 5)] {
            let case = Case::new(groups, steps);
            let tiles = Tiles::new(token, groups);
            for (rows, cols) in [(32, 32), (17, 16), (16, 17), (1, 1)] {
                let mut sums = BlockSums([77; BLOCK * BLOCK]);
                tiles.multiply(&case.rows_of(), &case.panel, (rows, cols), &mut sums);
                for row in 0..BLOCK {
                    for col in 0..BLOCK {
                        let is_asked =
                            row / TILE < rows.div_ceil(TILE) && col / TILE < cols.div_ceil(TILE);
                        let expected = if is_asked { case.sum(row, col) } else { 77 };
                        assert_eq!(
                            sums.0[row * BLOCK + col],
                            expected,
                            "{groups} {rows} {cols}: {row} {col}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn operands_that_are_too_short_are_refused() {
        let Some(token) = Avx512Amx::detect() else {
            return;
        };
        let case = Case::new(4, 3);
        let refused = |change: &dyn Fn(&mut BlockRows<'_>), words: usize| {
            let run = std::panic::AssertUnwindSafe(|| {
                let mut rows = case.rows_of();
                change(&mut rows);
                let mut sums = BlockSums([0; BLOCK * BLOCK]);
                Tiles::new(token, 4).multiply(&rows, &case.panel[..words], (32, 32), &mut sums);
            });
            std::panic::catch_unwind(run).is_err()
        };
        let all = case.panel.len();
        // The last row reaches just so far.
        let reach = 31 * case.stride + 48;
        // Tiles of a panic are given back: the next ones work.
        assert!(!refused(&|rows| rows.bytes = &rows.bytes[..reach], all));
        assert!(refused(&|rows| rows.bytes = &rows.bytes[..reach - 1], all));
        assert!(refused(&|_| (), all - 1));
        assert!(refused(&|rows| rows.second = case.rows.len() + 1, all));
        assert!(refused(&|rows| rows.stride = usize::MAX / 2, all));
        assert!(refused(&|rows| rows.steps = Steps::new(&[]), all));
        assert!(!refused(&|_| (), all));
    }

    #[test]
    fn tiles_are_of_one_size_on_a_thread_and_of_any_on_others() {
        let Some(token) = Avx512Amx::detect() else {
            return;
        };
        let here = Tiles::new(token, 16);
        let nested = std::panic::catch_unwind(|| drop(Tiles::new(token, 4)));
        assert!(nested.is_err());
        std::thread::scope(|scope| {
            for groups in [1, 7] {
                scope.spawn(move || {
                    let case = Case::new(groups, 2);
                    let tiles = Tiles::new(token, groups);
                    let mut sums = BlockSums([0; BLOCK * BLOCK]);
                    tiles.multiply(&case.rows_of(), &case.panel, (32, 32), &mut sums);
                    assert_eq!(sums.0[BLOCK * BLOCK - 1], case.sum(31, 31));
                });
            }
        });
        let case = Case::new(16, 2);
        let mut sums = BlockSums([0; BLOCK * BLOCK]);
        here.multiply(&case.rows_of(), &case.panel, (32, 32), &mut sums);
        assert_eq!(sums.0[BLOCK * BLOCK - 1], case.sum(31, 31));
    }
}
