//! The data file: which initializers lie in it, and where.

use std::collections::HashMap;
use std::io::{self, Write};

use compress_tensor::{DType, Tensor};

use super::entry;
use crate::graph::{Graph, ValueId};
use crate::proto::TensorProto;
use crate::proto::tensor_proto::DataLocation;

/// Tensors of at least this many bytes start at a page, so that they can be mapped alone.
const LARGE: usize = 1 << 20;
const PAGE: u64 = 4096;
/// All others start at a cache line.
const LINE: u64 = 64;

/// The layout of a data file beside the model.
#[derive(Debug)]
pub(in crate::io) struct DataFile<'a> {
    name: String,
    places: HashMap<ValueId, (u64, usize)>,
    /// The tensors with their offsets, ascending.
    tensors: Vec<(u64, &'a Tensor)>,
}

impl<'a> DataFile<'a> {
    /// Puts each initializer of `graph` that has at least `threshold` bytes into file `name`.
    pub(in crate::io) fn plan(graph: &'a Graph, name: String, threshold: usize) -> Self {
        let mut file = Self {
            name,
            places: HashMap::new(),
            tensors: Vec::new(),
        };
        let mut end = 0u64;
        for (id, tensor) in graph.initializers() {
            let len = tensor.bytes().len();
            if tensor.dtype() == DType::String || len < threshold {
                continue;
            }
            let offset = end.next_multiple_of(if len >= LARGE { PAGE } else { LINE });
            file.places.insert(id, (offset, len));
            file.tensors.push((offset, tensor));
            end = offset + len as u64;
        }
        file
    }

    /// Whether no initializer lies in the file.
    pub(in crate::io) fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    pub(super) fn holds(&self, id: ValueId) -> bool {
        self.places.contains_key(&id)
    }

    /// Makes `proto` point at the place of initializer `id`.
    pub(super) fn refer(&self, id: ValueId, proto: &mut TensorProto) {
        let Some((offset, length)) = self.places.get(&id) else {
            return;
        };
        proto.data_location = Some(DataLocation::External as i32);
        proto.external_data = vec![
            entry("location", self.name.clone()),
            entry("offset", offset.to_string()),
            entry("length", length.to_string()),
        ];
    }

    /// Writes the tensors, zeros between them.
    pub(in crate::io) fn write_to(&self, writer: &mut impl Write) -> io::Result<()> {
        const ZEROS: [u8; PAGE as usize] = [0; PAGE as usize];
        let mut end = 0;
        for &(offset, tensor) in &self.tensors {
            let gap = usize::try_from(offset - end)
                .unwrap_or(ZEROS.len())
                .min(ZEROS.len());
            writer.write_all(&ZEROS[..gap])?;
            writer.write_all(tensor.bytes())?;
            end = offset + tensor.bytes().len() as u64;
        }
        Ok(())
    }
}
