//! The header: magic bytes, version, and a Python dictionary of three entries.

use crate::{DType, TensorError, element_count};
use bytes::Bytes;

/// What is wrong with the bytes of a `.npy` file, or with a tensor that is to become one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NpyFormatError {
    /// The first bytes are not those of the format.
    #[error("not a .npy file: it does not begin with \\x93NUMPY")]
    BadMagic,
    /// A version of the format that does not exist yet.
    #[error("unknown .npy version {major}.{minor}")]
    BadVersion {
        /// Major version.
        major: u8,
        /// Minor version.
        minor: u8,
    },
    /// The header is longer than the longest that a plain array needs.
    #[error("header of {length} bytes is longer than {limit}")]
    HeaderTooLong {
        /// The length.
        length: usize,
        /// The longest that is read.
        limit: usize,
    },
    /// The file ends too early.
    #[error("{part} takes {expected} bytes, found {found}")]
    Truncated {
        /// `the header` or `the data`.
        part: &'static str,
        /// Bytes needed.
        expected: usize,
        /// Bytes there.
        found: usize,
    },
    /// The header is not the dictionary it should be.
    #[error("header, byte {position}: expected {expected}")]
    BadHeader {
        /// Position in the dictionary's text.
        position: usize,
        /// What should be there.
        expected: &'static str,
    },
    /// An entry of the header is missing.
    #[error("header has no entry `{field}`")]
    MissingField {
        /// The entry.
        field: &'static str,
    },
    /// An entry of the header that does not belong there, or that stands there twice.
    #[error("header entry `{field}` is unknown or repeated")]
    UnexpectedField {
        /// The entry.
        field: String,
    },
    /// An element type that no tensor has.
    #[error("header entry `descr`: element type {descr:?} is not supported")]
    UnsupportedType {
        /// The type as NumPy writes it.
        descr: String,
    },
    /// More dimensions than NumPy has.
    #[error("header entry `shape`: {rank} dimensions are more than {limit}")]
    TooManyDimensions {
        /// Dimensions found.
        rank: usize,
        /// The most there can be.
        limit: usize,
    },
    /// A size that overflows.
    #[error(
        "header entry `shape`: {shape:?} elements of {item_bytes} bytes are too many to address"
    )]
    TooLarge {
        /// The shape.
        shape: Vec<usize>,
        /// Bytes per element.
        item_bytes: usize,
    },
    /// Rows that the array does not have.
    #[error("rows {start}..{end} of shape {shape:?}")]
    NoSuchRows {
        /// First row asked for.
        start: usize,
        /// One past the last row asked for.
        end: usize,
        /// The array's shape.
        shape: Vec<usize>,
    },
    /// A string that is not Unicode.
    #[error("the string at position {index} is not valid text")]
    BadString {
        /// Its position in file order.
        index: usize,
    },
    /// A tensor type that NumPy does not have.
    #[error("NumPy has no element type {dtype}: cast it first")]
    NoNumpyType {
        /// The tensor's type.
        dtype: DType,
    },
    /// The tensor could not be made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// What the header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) item: Item,
    pub(super) big_endian: bool,
    pub(super) fortran_order: bool,
    pub(super) shape: Vec<usize>,
}

/// One element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Number(DType),
    /// `S`: this many bytes, zeros at the end not counted.
    ByteString(usize),
    /// `U`: this many 4-byte code points, zeros at the end not counted.
    UnicodeString(usize),
}

impl Header {
    pub(super) fn dtype(&self) -> DType {
        match self.item {
            Item::Number(dtype) => dtype,
            Item::ByteString(_) | Item::UnicodeString(_) => DType::String,
        }
    }

    pub(super) fn item_bytes(&self) -> usize {
        match self.item {
            Item::Number(dtype) => dtype.byte_len(1).unwrap_or(0),
            Item::ByteString(bytes) => bytes,
            Item::UnicodeString(points) => points * 4,
        }
    }

    /// The number of bytes that the data takes.
    fn data_bytes(&self) -> Result<usize, NpyFormatError> {
        element_count(&self.shape)
            .and_then(|count| count.checked_mul(self.item_bytes()))
            .filter(|&bytes| bytes <= isize::MAX as usize)
            .ok_or_else(|| NpyFormatError::TooLarge {
                shape: self.shape.clone(),
                item_bytes: self.item_bytes(),
            })
    }
}

const MAGIC: &[u8] = b"\x93NUMPY";
/// The longest header that version 1 can hold; longer ones are for structured types only.
const MAX_HEADER: usize = 65_535;
/// The most bytes before the data: magic, version, length and header.
#[cfg(feature = "npz")]
pub(crate) const MAX_PREFIX: usize = MAX_HEADER + 12;
/// NumPy's own limit.
const MAX_RANK: usize = 64;
/// A bound on the length of one string, so that products of lengths stay small.
const MAX_STRING: usize = 1 << 28;

/// The header and the bytes of the data, of exactly the length the header asks for; what follows
/// is ignored, as NumPy does.
pub(super) fn split(bytes: &Bytes) -> Result<(Header, Bytes), NpyFormatError> {
    let (header, data_start) = parse(bytes)?;
    let expected = header.data_bytes()?;
    let found = bytes.len() - data_start;
    if found < expected {
        return Err(NpyFormatError::Truncated {
            part: "the data",
            expected,
            found,
        });
    }
    Ok((header, bytes.slice(data_start..data_start + expected)))
}

/// The length of the whole file, as its first bytes tell; [`MAX_PREFIX`] of them are enough.
#[cfg(feature = "npz")]
pub(crate) fn file_length(prefix: &[u8]) -> Result<usize, NpyFormatError> {
    let (header, data_start) = parse(prefix)?;
    Ok(data_start.saturating_add(header.data_bytes()?))
}

/// The header, and where the data begins.
fn parse(bytes: &[u8]) -> Result<(Header, usize), NpyFormatError> {
    let magic = bytes.get(..MAGIC.len()).ok_or(NpyFormatError::BadMagic)?;
    if magic != MAGIC {
        return Err(NpyFormatError::BadMagic);
    }
    let too_short = |expected| NpyFormatError::Truncated {
        part: "the header",
        expected,
        found: bytes.len(),
    };
    let field = |start: usize| bytes.get(start..).unwrap_or(&[]);
    let [major, minor] = *field(6).first_chunk().ok_or(too_short(10))?;
    let (length, prefix) = match (major, minor) {
        (1, 0) => {
            let length = field(8).first_chunk().ok_or(too_short(10))?;
            (usize::from(u16::from_le_bytes(*length)), 10)
        }
        (2 | 3, 0) => {
            let length = field(8).first_chunk().ok_or(too_short(12))?;
            (u32::from_le_bytes(*length) as usize, 12)
        }
        _ => return Err(NpyFormatError::BadVersion { major, minor }),
    };
    if length > MAX_HEADER {
        return Err(NpyFormatError::HeaderTooLong {
            length,
            limit: MAX_HEADER,
        });
    }
    let data_start = prefix + length;
    let text = bytes.get(prefix..data_start).ok_or(too_short(data_start))?;
    let header = Parser { text, position: 0 }.header()?;
    Ok((header, data_start))
}

/// A reader of the dictionary, a small part of Python's literals.
struct Parser<'a> {
    text: &'a [u8],
    position: usize,
}

impl<'a> Parser<'a> {
    fn header(mut self) -> Result<Header, NpyFormatError> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        self.expect(b'{', "`{`")?;
        while !self.take(b'}') {
            let field = self.string()?;
            self.expect(b':', "`:`")?;
            let repeated = match field {
                b"descr" => descr.replace(self.string()?).is_some(),
                b"fortran_order" => fortran_order.replace(self.boolean()?).is_some(),
                b"shape" => shape.replace(self.tuple()?).is_some(),
                _ => true,
            };
            if repeated {
                return Err(NpyFormatError::UnexpectedField {
                    field: lossy(field),
                });
            }
            if !self.take(b',') {
                self.expect(b'}', "`,` or `}`")?;
                break;
            }
        }
        self.skip_space();
        if self.position < self.text.len() {
            return Err(self.error("nothing after `}`"));
        }
        let missing = |field| NpyFormatError::MissingField { field };
        let descr = descr.ok_or(missing("descr"))?;
        let (item, big_endian) =
            element_type(descr).ok_or_else(|| NpyFormatError::UnsupportedType {
                descr: lossy(descr),
            })?;
        let shape: Vec<usize> = shape.ok_or(missing("shape"))?;
        if shape.len() > MAX_RANK {
            return Err(NpyFormatError::TooManyDimensions {
                rank: shape.len(),
                limit: MAX_RANK,
            });
        }
        let header = Header {
            item,
            big_endian,
            fortran_order: fortran_order.ok_or(missing("fortran_order"))?,
            shape,
        };
        // Elements of no bytes would cost memory that no byte of the file pays for.
        if header.item_bytes() == 0 && element_count(&header.shape) != Some(0) {
            return Err(NpyFormatError::UnsupportedType {
                descr: lossy(descr),
            });
        }
        Ok(header)
    }

    fn string(&mut self) -> Result<&'a [u8], NpyFormatError> {
        self.skip_space();
        let error = self.error("a quoted string");
        let rest = &self.text[self.position..];
        let quote = match rest.first() {
            Some(&quote @ (b'\'' | b'"')) => quote,
            _ => return Err(error),
        };
        let length = rest[1..].iter().position(|&b| b == quote).ok_or(error)?;
        self.position += length + 2;
        Ok(&rest[1..=length])
    }

    fn boolean(&mut self) -> Result<bool, NpyFormatError> {
        self.skip_space();
        for (word, value) in [("True", true), ("False", false)] {
            if self.text[self.position..].starts_with(word.as_bytes()) {
                self.position += word.len();
                return Ok(value);
            }
        }
        Err(self.error("`True` or `False`"))
    }

    fn tuple(&mut self) -> Result<Vec<usize>, NpyFormatError> {
        self.expect(b'(', "`(`")?;
        let mut items = Vec::new();
        while !self.take(b')') {
            items.push(self.integer()?);
            if !self.take(b',') {
                self.expect(b')', "`,` or `)`")?;
                break;
            }
        }
        Ok(items)
    }

    fn integer(&mut self) -> Result<usize, NpyFormatError> {
        self.skip_space();
        let rest = &self.text[self.position..];
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let number = std::str::from_utf8(&rest[..digits]).ok();
        let number = number.and_then(|digits| digits.parse().ok());
        let number = number.ok_or_else(|| self.error("a length that fits 64 bits"))?;
        self.position += digits;
        // Python 2 wrote long integers with a suffix.
        if self.text.get(self.position) == Some(&b'L') {
            self.position += 1;
        }
        Ok(number)
    }

    /// Skips `byte` if it comes next.
    fn take(&mut self, byte: u8) -> bool {
        self.skip_space();
        let found = self.text.get(self.position) == Some(&byte);
        self.position += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8, name: &'static str) -> Result<(), NpyFormatError> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(self.error(name))
        }
    }

    fn skip_space(&mut self) {
        let rest = &self.text[self.position..];
        self.position += rest.iter().take_while(|b| b.is_ascii_whitespace()).count();
    }

    fn error(&self, expected: &'static str) -> NpyFormatError {
        NpyFormatError::BadHeader {
            position: self.position,
            expected,
        }
    }
}

/// The element and whether it is big endian, from NumPy's `descr`.
fn element_type(descr: &[u8]) -> Option<(Item, bool)> {
    let (&order, code) = descr.split_first()?;
    let big_endian = match order {
        b'>' => true,
        b'<' | b'|' | b'=' => false,
        _ => return None,
    };
    let number = |dtype| Some((Item::Number(dtype), big_endian));
    match code {
        b"b1" | b"?" => number(DType::Bool),
        b"i1" => number(DType::I8),
        b"i2" => number(DType::I16),
        b"i4" => number(DType::I32),
        b"i8" => number(DType::I64),
        b"u1" => number(DType::U8),
        b"u2" => number(DType::U16),
        b"u4" => number(DType::U32),
        b"u8" => number(DType::U64),
        b"f2" => number(DType::F16),
        b"f4" => number(DType::F32),
        b"f8" => number(DType::F64),
        b"c8" => number(DType::C64),
        b"c16" => number(DType::C128),
        [kind @ (b'U' | b'S'), length @ ..] if length.iter().all(u8::is_ascii_digit) => {
            let length = std::str::from_utf8(length).ok()?.parse().ok()?;
            if length > MAX_STRING {
                return None;
            }
            let item = match kind {
                b'U' => Item::UnicodeString(length),
                _ => Item::ByteString(length),
            };
            Some((item, big_endian))
        }
        _ => None,
    }
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(80)]).into_owned()
}
