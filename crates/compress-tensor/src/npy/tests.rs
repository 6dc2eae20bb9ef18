use super::*;
use crate::DType;
use half::f16;
use proptest::prelude::*;

/// A file with the dictionary as NumPy writes it.
fn file(descr: &str, fortran_order: &str, shape: &str, data: &[u8]) -> Bytes {
    raw(
        &format!("{{'descr': '{descr}', 'fortran_order': {fortran_order}, 'shape': {shape}, }}"),
        data,
    )
}

fn raw(dictionary: &str, data: &[u8]) -> Bytes {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(dictionary.len()).unwrap().to_le_bytes());
    bytes.extend(dictionary.as_bytes());
    bytes.extend(data);
    Bytes::from(bytes)
}

fn error(descr: &str, shape: &str) -> String {
    decode(&file(descr, "False", shape, &[0; 16]))
        .unwrap_err()
        .to_string()
}

#[test]
fn c_order_little_endian_data_is_not_copied() {
    let bytes = file("<u2", "False", "(2, 2)", &[1, 0, 2, 0, 3, 0, 4, 0]);
    let x = decode(&bytes).unwrap();
    assert_eq!((x.dtype(), x.shape()), (DType::U16, &[2, 2][..]));
    assert_eq!(x.data::<u16>().unwrap()[..], [1, 2, 3, 4]);
    assert_eq!(x.bytes().as_ptr(), bytes[bytes.len() - 8..].as_ptr());
}

#[test]
fn big_endian_numbers_are_swapped() {
    let x = decode(&file(
        ">i4",
        "False",
        "(2,)",
        &[0, 0, 0, 1, 255, 255, 255, 254],
    ))
    .unwrap();
    assert_eq!(x.data::<i32>().unwrap()[..], [1, -2]);
    let c = decode(&file(">c8", "False", "()", &[63, 128, 0, 0, 64, 0, 0, 0])).unwrap();
    assert_eq!(c.bytes(), [0, 0, 128, 63, 0, 0, 0, 64]);
}

#[test]
fn fortran_order_becomes_c_order() {
    // [[1, 2, 3], [4, 5, 6]]
    let x = decode(&file("|u1", "True", "(2, 3)", &[1, 4, 2, 5, 3, 6])).unwrap();
    assert_eq!(x.as_slice::<u8>().unwrap(), [1, 2, 3, 4, 5, 6]);
    // np.arange(24).reshape(2, 3, 4), bytes of its Fortran order
    let fortran: Vec<u8> = (0..24)
        .map(|i| i % 2 * 12 + i / 2 % 3 * 4 + i / 6)
        .collect();
    let x = decode(&file("|u1", "True", "(2, 3, 4)", &fortran)).unwrap();
    assert_eq!(x.as_slice::<u8>().unwrap(), Vec::from_iter(0..24u8));
}

#[test]
fn strings_are_read_in_both_encodings_and_orders() {
    let x = decode(&file(
        "<U2",
        "False",
        "(2,)",
        b"h\0\0\0\xE9\0\0\0a\0\0\0\0\0\0\0",
    ))
    .unwrap();
    assert_eq!(x.strings().unwrap(), ["hé", "a"]);
    let x = decode(&file(">U1", "False", "()", b"\0\0\0h")).unwrap();
    assert_eq!(x.strings().unwrap(), ["h"]);
    let x = decode(&file("|S2", "True", "(2, 2)", b"a\0c\0b\0dd")).unwrap();
    assert_eq!(x.strings().unwrap(), ["a", "b", "c", "dd"]);
    let bad = decode(&file("<U1", "False", "(1,)", &[0, 0, 0x11, 0])).unwrap_err();
    assert_eq!(bad, NpyFormatError::BadString { index: 0 });
}

#[test]
fn versions_2_and_3_have_a_longer_length_field() {
    let dictionary = b"{'descr': '|i1', 'fortran_order': False, 'shape': (1,)}";
    for version in [2, 3] {
        let mut bytes = b"\x93NUMPY".to_vec();
        bytes.extend([version, 0]);
        bytes.extend((dictionary.len() as u32).to_le_bytes());
        bytes.extend(dictionary);
        bytes.push(0xFF);
        let x = decode(&Bytes::from(bytes)).unwrap();
        assert_eq!(x.as_slice::<i8>().unwrap(), [-1]);
    }
}

#[test]
fn errors_name_the_entry_of_the_header() {
    assert_eq!(
        error("|O", "(1,)"),
        "header entry `descr`: element type \"|O\" is not supported"
    );
    assert_eq!(
        error("|S0", "(99999999999,)"),
        "header entry `descr`: element type \"|S0\" is not supported"
    );
    assert_eq!(
        error("<f8", "(4294967296, 4294967296)"),
        "header entry `shape`: [4294967296, 4294967296] elements of 8 bytes are too many to address"
    );
    assert_eq!(error("<f8", "(4,)"), "the data takes 32 bytes, found 16");
    let many = format!("({})", "1, ".repeat(65));
    assert_eq!(
        error("<f8", &many),
        "header entry `shape`: 65 dimensions are more than 64"
    );
    assert_eq!(
        error("<f8", "(-1,)"),
        "header, byte 51: expected a length that fits 64 bits"
    );
    let no_shape = raw("{'descr': '<f4', 'fortran_order': False}", &[]);
    assert_eq!(
        decode(&no_shape).unwrap_err(),
        NpyFormatError::MissingField { field: "shape" }
    );
    let twice = raw("{'descr': '<f4', 'descr': '<f4'}", &[]);
    assert_eq!(
        decode(&twice).unwrap_err(),
        NpyFormatError::UnexpectedField {
            field: "descr".into()
        }
    );
    assert_eq!(
        decode(&Bytes::from_static(b"PK\x03\x04")).unwrap_err(),
        NpyFormatError::BadMagic
    );
    assert_eq!(
        decode(&Bytes::from_static(b"\x93NUMPY\x09\x00")).unwrap_err(),
        NpyFormatError::BadVersion { major: 9, minor: 0 }
    );
    let mut long = b"\x93NUMPY\x02\x00".to_vec();
    long.extend(u32::MAX.to_le_bytes());
    assert_eq!(
        decode(&Bytes::from(long)).unwrap_err(),
        NpyFormatError::HeaderTooLong {
            length: u32::MAX as usize,
            limit: 65535
        }
    );
}

#[test]
fn a_written_header_ends_at_a_multiple_of_64() {
    let mut bytes = Vec::new();
    write_to(&mut bytes, &Tensor::vector(vec![7u8])).unwrap();
    assert_eq!(bytes.len(), 129);
    assert_eq!(bytes[127..], [b'\n', 7]);
    assert!(bytes[10..].starts_with(b"{'descr': '|u1', 'fortran_order': False, 'shape': (1, ), }"));
}

#[test]
fn a_type_that_numpy_lacks_is_refused_by_name() {
    let x = Tensor::pack_ints(DType::I4, &[1], &[1]).unwrap();
    let error = write_to(&mut Vec::new(), &x).unwrap_err();
    assert_eq!(
        error.to_string(),
        "NumPy has no element type i4: cast it first"
    );
}

#[test]
#[cfg_attr(miri, ignore = "maps files")]
fn a_file_is_read_row_by_row_in_every_layout() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.npy");
    let contents = [
        file(
            "<i2",
            "False",
            "(3, 2)",
            &[1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0],
        ),
        file(
            ">i2",
            "False",
            "(3, 2)",
            &[0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6],
        ),
        file(
            "<i2",
            "True",
            "(3, 2)",
            &[1, 0, 3, 0, 5, 0, 2, 0, 4, 0, 6, 0],
        ),
    ];
    for content in contents {
        std::fs::write(&path, content).unwrap();
        let npy = NpyFile::open(&path).unwrap();
        assert_eq!((npy.dtype(), npy.row_count()), (DType::I16, Some(3)));
        let rows = npy.rows(1..3).unwrap();
        assert_eq!(rows.shape(), [2, 2]);
        assert_eq!(rows.into_vec::<i16>().unwrap(), [3, 4, 5, 6]);
        assert_eq!(npy.rows(3..3).unwrap().shape(), [0, 2]);
        let error = npy.rows(2..4).unwrap_err().to_string();
        assert!(
            error.ends_with("x.npy: rows 2..4 of shape [3, 2]"),
            "{error}"
        );
        assert_eq!(
            read(&path).unwrap().into_vec::<i16>().unwrap(),
            [1, 2, 3, 4, 5, 6]
        );
    }
    std::fs::write(&path, file("<U1", "False", "(2,)", b"a\0\0\0b\0\0\0")).unwrap();
    let rows = NpyFile::open(&path).unwrap().rows(1..2).unwrap();
    assert_eq!(rows.strings().unwrap(), ["b"]);
}

#[test]
#[cfg_attr(miri, ignore = "maps files")]
fn a_file_error_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.npy");
    std::fs::write(&path, b"\x93NUMPY\x01\x00\xFF").unwrap();
    let error = read(&path).unwrap_err().to_string();
    assert!(
        error.ends_with("bad.npy: the header takes 10 bytes, found 9"),
        "{error}"
    );
    let missing = read(dir.path().join("absent.npy")).unwrap_err();
    assert!(missing.to_string().contains("absent.npy: "), "{missing}");
}

#[test]
fn every_numpy_type_survives_writing_and_reading() {
    let strings = vec!["".to_owned(), "naïve".to_owned(), "𝄞".to_owned()];
    let tensors = [
        Tensor::scalar(1.5f64),
        Tensor::vector(vec![f16::ONE, f16::NAN]),
        Tensor::vector(vec![true, false]),
        Tensor::full(&[2, 0, 3], 1u64).unwrap(),
        Tensor::vector(vec![i64::MIN, i64::MAX]),
        Tensor::from_bytes(DType::C64, &[1], Bytes::from(vec![1; 8])).unwrap(),
        Tensor::from_strings(&[3, 1], strings).unwrap(),
    ];
    for x in tensors {
        let mut bytes = Vec::new();
        write_to(&mut bytes, &x).unwrap();
        let y = decode(&Bytes::from(bytes)).unwrap();
        assert_eq!((x.dtype(), x.shape()), (y.dtype(), y.shape()));
        assert_eq!(x.bytes(), y.bytes());
        assert_eq!(x.strings().ok(), y.strings().ok());
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend(&bytes);
        // Whatever the answer, it must be one.
        let _ = (decode(&Bytes::from(bytes)), decode(&Bytes::from(file)));
    }

    #[test]
    fn a_damaged_file_reads_as_an_array_that_fits_it_or_not_at_all(
        position in 0usize..80,
        byte in any::<u8>(),
    ) {
        let mut bytes = file("<i2", "True", "(3, 2)", &[0; 12]).to_vec();
        let position = position % bytes.len();
        bytes[position] = byte;
        let length = bytes.len();
        if let Ok(x) = decode(&Bytes::from(bytes)) {
            prop_assert!(x.byte_len() <= length);
        }
    }

    #[test]
    fn rows_of_fortran_order_are_those_of_c_order(
        shape in prop::collection::vec(1usize..4, 2..4),
        seed in any::<u8>(),
        cut in 0usize..4,
    ) {
        let count: usize = shape.iter().product();
        let data: Vec<u8> = (0..count).map(|i| (i as u8).wrapping_mul(31) ^ seed).collect();
        let text = format!("({})", shape.iter().map(|d| format!("{d}, ")).collect::<String>());
        let fortran = header::split(&file("|u1", "True", &text, &data)).unwrap();
        let whole = decode::all(&fortran.0, &fortran.1).unwrap();
        let view = ndarray::ArrayViewD::from_shape(
            ndarray::ShapeBuilder::f(ndarray::IxDyn(&shape)), &data,
        ).unwrap();
        prop_assert_eq!(whole.view::<u8>().unwrap(), view);
        let cut = cut.min(shape[0]);
        let rows = decode::rows(&fortran.0, &fortran.1, cut..shape[0]).unwrap();
        let row = count / shape[0];
        prop_assert_eq!(rows.bytes(), &whole.bytes()[cut * row..]);
    }
}
