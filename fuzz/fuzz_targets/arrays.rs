//! Any bytes as `.npy` and safetensors.
#![no_main]

use compress_tensor::{Bytes, npy, safetensors};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    let _ = npy::decode(&bytes);
    let _ = safetensors::decode(&bytes);
});
