use super::*;
use half::bf16;
use proptest::prelude::*;
use std::fs;

fn contents() -> Contents {
    let mut contents = Contents::default();
    for (name, tensor) in [
        ("b", Tensor::vector(vec![true, false, true])),
        ("a\"quoted", Tensor::vector(vec![1.5f64])),
        (
            "half",
            Tensor::from_vec(&[1, 2], vec![bf16::ONE; 2]).unwrap(),
        ),
        ("f4", Tensor::pack_f4(&[2], &[0.5, -6.0]).unwrap()),
        ("none", Tensor::full(&[0, 3], 1u8).unwrap()),
    ] {
        contents.tensors.insert(name.to_owned(), tensor);
    }
    for i in 0..9 {
        contents.metadata.insert(format!("key{i}"), "välue".into());
    }
    contents
}

fn written(contents: &Contents) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.safetensors");
    write(&path, contents).unwrap();
    fs::read(path).unwrap()
}

#[test]
fn what_is_written_is_read_back_as_windows_into_the_bytes() {
    let expected = contents();
    let bytes = Bytes::from(written(&expected));
    let found = decode(&bytes).unwrap();
    assert_eq!(found.metadata, expected.metadata);
    assert_eq!(found.tensors.len(), expected.tensors.len());
    for (name, tensor) in &found.tensors {
        let original = &expected.tensors[name];
        assert_eq!(
            (tensor.dtype(), tensor.shape()),
            (original.dtype(), original.shape())
        );
        assert_eq!(tensor.bytes(), original.bytes());
        assert!(tensor.is_empty() || bytes.as_ptr_range().contains(&tensor.bytes().as_ptr()));
    }
}

#[test]
fn the_same_contents_give_the_same_bytes() {
    assert_eq!(written(&contents()), written(&contents()));
}

#[test]
fn the_header_is_that_of_the_format() {
    let mut small = Contents::default();
    small.tensors.insert("x".into(), Tensor::vector(vec![7i16]));
    small.metadata.insert("k".into(), "v".into());
    let bytes = written(&small);
    let text = concat!(
        r#"{"__metadata__":{"k":"v"},"#,
        r#""x":{"dtype":"I16","shape":[1],"data_offsets":[0,2]}}"#
    );
    let length = text.len().next_multiple_of(8);
    assert_eq!(bytes[..8], (length as u64).to_le_bytes());
    assert_eq!(
        std::str::from_utf8(&bytes[8..8 + length])
            .unwrap()
            .trim_end(),
        text
    );
    assert_eq!(bytes[8 + length..], [7, 0]);
}

#[test]
fn a_file_error_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.safetensors");
    fs::write(&path, [1, 2, 3]).unwrap();
    let error = read(&path).unwrap_err().to_string();
    assert!(
        error.ends_with("bad.safetensors: not a valid safetensors file: header too small"),
        "{error}"
    );
    assert!(matches!(
        read(dir.path().join("absent")),
        Err(SafetensorsError::Io { .. })
    ));
}

#[test]
fn a_tensor_that_the_format_cannot_hold_is_named() {
    let error = |tensor: Tensor, name: &str| {
        let dir = tempfile::tempdir().unwrap();
        let mut contents = Contents::default();
        contents.tensors.insert(name.into(), tensor);
        let path = dir.path().join("x.safetensors");
        let error = write(&path, &contents).unwrap_err().to_string();
        assert!(!path.exists());
        error
    };
    let text = Tensor::from_strings(&[0], Vec::new()).unwrap();
    assert!(error(text, "t").ends_with("tensor `t`: no safetensors element type matches string"));
    let odd = Tensor::pack_f4(&[3], &[1.0; 3]).unwrap();
    assert!(error(odd, "w").ends_with("tensor `w`: 3 elements of f4e2m1 do not fill whole bytes"));
    assert!(error(Tensor::scalar(1u8), METADATA_KEY).ends_with("cannot be named `__metadata__`"));
}

#[test]
fn tensors_that_overlap_or_leave_gaps_are_refused() {
    for offsets in ["[0,4],[2,6]", "[0,4],[5,9]"] {
        let (a, b) = offsets.split_once("],").unwrap();
        let header = format!(
            r#"{{"a":{{"dtype":"F32","shape":[1],"data_offsets":{a}]}},"b":{{"dtype":"F32","shape":[1],"data_offsets":{b}}}}}"#
        );
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend([0; 9]);
        assert!(matches!(
            decode(&Bytes::from(bytes)),
            Err(SafetensorsFormatError::Invalid(_))
        ));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(
        length in 0u64..64,
        bytes in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut file = length.to_le_bytes().to_vec();
        file.extend(&bytes);
        // Whatever the answer, it must be one.
        let _ = (decode(&Bytes::from(bytes)), decode(&Bytes::from(file)));
    }
}
