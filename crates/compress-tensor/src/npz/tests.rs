use super::*;
use crate::DType;
use proptest::prelude::*;
use std::fs;

fn archive(packing: Packing) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.npz");
    let x = Tensor::from_vec(&[2, 1000], (0..2000i32).collect()).unwrap();
    let s = Tensor::from_strings(&[1], vec!["naïve".into()]).unwrap();
    write(&path, [("x", &x), ("s", &s)], packing).unwrap();
    fs::read(&path).unwrap()
}

fn open(bytes: &[u8]) -> Result<NpzFile, NpzError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.npz");
    fs::write(&path, bytes).unwrap();
    NpzFile::open(&path)
}

#[test]
fn both_packings_give_the_arrays_back() {
    for packing in [Packing::Stored, Packing::Deflated] {
        let file = open(&archive(packing)).unwrap();
        assert_eq!(file.names(), ["x", "s"]);
        let x = file.read("x").unwrap();
        assert_eq!((x.dtype(), x.shape()), (DType::I32, &[2, 1000][..]));
        assert_eq!(x.into_vec::<i32>().unwrap(), Vec::from_iter(0..2000));
        assert_eq!(file.read("s").unwrap().strings().unwrap(), ["naïve"]);
    }
}

#[test]
fn a_stored_array_is_a_window_into_the_map() {
    let file = open(&archive(Packing::Stored)).unwrap();
    let x = file.read("x").unwrap();
    assert!(file.bytes.as_ptr_range().contains(&x.bytes().as_ptr()));
}

#[test]
fn the_same_arrays_give_the_same_bytes() {
    assert_eq!(archive(Packing::Deflated), archive(Packing::Deflated));
}

#[test]
fn deflating_makes_a_regular_array_smaller() {
    assert!(archive(Packing::Deflated).len() * 4 < archive(Packing::Stored).len() * 3);
}

#[test]
fn a_changed_byte_in_a_deflated_array_is_found_by_the_checksum() {
    let mut bytes = archive(Packing::Deflated);
    // In the middle of the first member's data.
    bytes[1500] ^= 1;
    let file = open(&bytes).unwrap();
    assert!(matches!(
        file.read("x").unwrap_err(),
        NpzError::Archive { .. } | NpzError::Array { .. }
    ));
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let file = open(&archive(Packing::Stored)).unwrap();
    let error = file.read("y").unwrap_err().to_string();
    assert!(error.ends_with("a.npz: no array `y`"), "{error}");
    assert!(matches!(open(b"no archive"), Err(NpzError::Archive { .. })));

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.npz");
    let x = Tensor::scalar(1u8);
    let twice = write(&path, [("x", &x), ("x", &x)], Packing::Stored).unwrap_err();
    assert!(twice.to_string().ends_with("two arrays are named `x`"));
    let packed = Tensor::pack_ints(DType::I4, &[1], &[1]).unwrap();
    let error = write(&path, [("w", &packed)], Packing::Stored).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("array `w`: NumPy has no element type i4: cast it first")
    );
    assert!(!path.exists());
}

#[test]
fn a_member_that_unpacks_beyond_its_array_is_not_unpacked_further() {
    let mut bytes = Vec::new();
    let mut writer = ZipWriter::new(Cursor::new(&mut bytes));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    writer.start_file("x.npy", options).unwrap();
    npy::write_to(&mut writer, &Tensor::scalar(7u8)).unwrap();
    writer.write_all(&vec![0; 1 << 20]).unwrap();
    writer.finish().unwrap();
    let x = open(&bytes).unwrap().read("x").unwrap();
    assert_eq!(x.into_vec::<u8>().unwrap(), [7]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_damaged_archive_is_read_or_refused_without_panic(
        position in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        deflated in any::<bool>(),
    ) {
        let packing = if deflated { Packing::Deflated } else { Packing::Stored };
        let mut bytes = archive(packing);
        let position = position.index(bytes.len());
        bytes[position] = byte;
        if let Ok(file) = open(&bytes) {
            for name in file.names() {
                if let Ok(tensor) = file.read(&name) {
                    prop_assert!(tensor.byte_len() <= 2000 * 16);
                }
            }
        }
    }
}
