//! Any bytes as `.npy` and safetensors; what loads as `.npy` is written and read back as it was.
#![no_main]

use compress_tensor::{Bytes, npy, safetensors};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    let _ = safetensors::decode(&bytes);
    let Ok(tensor) = npy::decode(&bytes) else { return };
    let mut written = Vec::new();
    if npy::write_to(&mut written, &tensor).is_err() {
        return;
    }
    let again = npy::decode(&written.into()).expect("what was written can be read");
    assert_eq!((again.dtype(), again.shape()), (tensor.dtype(), tensor.shape()));
    assert!(again.bytes() == tensor.bytes(), "other elements");
});
