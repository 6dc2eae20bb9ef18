//! AMX (`amx-tile`, `amx-int8`): products of tiles of 16 rows by 64 bytes, `tdpbusd`.
//!
//! Eight registers hold a tile each: four of sums, two of the left and two of the right operand. Their extents are a state of
//! the thread, which [`Tiles`] sets and takes back. The rest of a kernel is that of AVX-512 with VNNI, whose packed panels are what
//! tiles of the right operand are read from.

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::OnceLock;

use super::Avx512Vnni;

/// Proof that the CPU has what [`Avx512Vnni`] proves, and AMX for bytes, and that the system lets this process use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512Amx(Avx512Vnni);

impl Avx512Amx {
    /// The token, if this CPU has the features and the operating system (Linux) grants their state.
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

/// Whether CPU and system know of tiles and their products of bytes.
fn has_tiles() -> bool {
    const AMX_TILE: u32 = 1 << 24;
    const AMX_INT8: u32 = 1 << 25;
    const OSXSAVE: u32 = 1 << 27;
    const TILE_STATES: u64 = 0b11 << 17;
    if __cpuid(0).eax < 7 || __cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    let features = __cpuid_count(7, 0).edx;
    if features & AMX_TILE == 0 || features & AMX_INT8 == 0 {
        return false;
    }
    // SAFETY: OSXSAVE tells that the instruction is there.
    let states = unsafe { _xgetbv(0) };
    states & TILE_STATES == TILE_STATES
}

/// Asks the system for the state of the tiles, which it does not give unasked.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const REQUEST_PERMISSION: u64 = 0x1023;
    const TILE_DATA: u64 = 18;
    let result: i64;
    // SAFETY: the system call reads no memory of this process and changes nothing but the permission; it writes the registers named.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") REQUEST_PERMISSION,
            in("rsi") TILE_DATA,
            out("rcx") _,
            out("r11") _,
            options(nostack)
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
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
        // SAFETY: the token proves the instruction; `config` is 64 bytes of palette 1 with extents within its limits.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, readonly));
        }
        Self {
            groups,
            here: PhantomData,
        }
    }

    /// The sums of products of two tiles of rows, or of the first, with two tiles of columns, or the first, of a panel
    /// of two. What is not asked for keeps its place with what was there.
    ///
    /// # Panics
    /// Where the rows or the panel do not have what the steps read.
    pub(crate) fn multiply(
        &self,
        rows: &BlockRows<'_>,
        panel: &[i32],
        (two_rows, two_cols): (bool, bool),
        sums: &mut BlockSums,
    ) {
        let step = self.groups * BLOCK;
        let steps = rows.steps.starts;
        if steps.is_empty() {
            sums.0.fill(0);
            return;
        }
        let second = if two_rows { rows.second } else { 0 };
        let reach = (rows.stride.saturating_mul(TILE - 1))
            .saturating_add(second)
            .saturating_add(rows.steps.last)
            .saturating_add(4 * self.groups);
        assert!(reach <= rows.bytes.len() && steps.len().saturating_mul(step) <= panel.len());
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
            asm!("tilerelease", options(nostack, nomem));
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
