//! Sparse tensors: values with ascending positions within the shape.

use super::scope::Scope;
use super::{Checker, Place, Problem};
use crate::graph::{Attribute, Node, NodeId, SparseTensor};

impl Checker<'_> {
    pub(super) fn sparse_initializers(&mut self, scope: &Scope<'_>) {
        let graph = scope.graph;
        for (i, tensor) in graph.sparse_initializers.iter().enumerate() {
            if tensor.name.is_empty() {
                self.error(scope.place(), Problem::UnnamedValue);
            }
            let is_name = |other: &SparseTensor| other.name == tensor.name;
            let is_dense = graph
                .value_by_name(&tensor.name)
                .is_some_and(|id| graph.initializer(id).is_some());
            if is_dense || graph.sparse_initializers[..i].iter().any(is_name) {
                let value = tensor.name.clone();
                self.error(scope.place(), Problem::DuplicateInitializer { value });
            }
            self.sparse(scope.place(), tensor);
        }
    }

    pub(super) fn sparse_attributes(&mut self, scope: &Scope<'_>, id: NodeId, node: &Node) {
        for (_, attribute) in node.attributes.iter() {
            let tensors = match attribute {
                Attribute::SparseTensor(tensor) => std::slice::from_ref(tensor),
                Attribute::SparseTensors(tensors) => tensors,
                _ => continue,
            };
            for tensor in tensors {
                self.sparse(scope.place_of(id), tensor);
            }
        }
    }

    fn sparse(&mut self, place: Place, tensor: &SparseTensor) {
        if let Some(reason) = fault(tensor) {
            let value = tensor.name.clone();
            self.error(place, Problem::SparseTensor { value, reason });
        }
    }
}

/// What is wrong with a sparse tensor, if anything is.
fn fault(tensor: &SparseTensor) -> Option<&'static str> {
    let &[count] = tensor.values.shape() else {
        return Some("its values must be a vector");
    };
    if tensor.dims.is_empty() || tensor.dims.contains(&0) {
        return Some("its shape must have axes, none of size 0");
    }
    let rank = tensor.dims.len();
    let per_value = match *tensor.indices.shape() {
        [n] if n == count => 1,
        [n, axes] if n == count && axes == rank => rank,
        _ => return Some("there must be one position for each value, or one for each axis of it"),
    };
    let Ok(indices) = tensor.indices.data::<i64>() else {
        return Some("its positions must be of type int64");
    };
    let Some(size) = compress_tensor::element_count(&tensor.dims) else {
        return Some("its shape is too large");
    };
    let mut last = None;
    for index in indices.chunks_exact(per_value) {
        let axes = if per_value == 1 {
            &[size][..]
        } else {
            &tensor.dims
        };
        let mut at = 0usize;
        for (&n, &size) in index.iter().zip(axes) {
            match usize::try_from(n) {
                Ok(n) if n < size => at = at * size + n,
                _ => return Some("a position lies outside of its shape"),
            }
        }
        if last.is_some_and(|last| at <= last) {
            return Some("its positions must ascend");
        }
        last = Some(at);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use compress_tensor::Tensor;

    fn tensor(values: Vec<f32>, indices: Tensor, dims: &[usize]) -> SparseTensor {
        SparseTensor {
            name: "s".into(),
            values: Tensor::vector(values),
            indices,
            dims: dims.to_vec(),
        }
    }

    #[test]
    fn positions_ascend_within_the_shape() {
        let of = |indices: &[i64], dims: &[usize]| {
            fault(&tensor(
                vec![1.0, 2.0],
                Tensor::vector(indices.to_vec()),
                dims,
            ))
        };
        assert_eq!(of(&[1, 5], &[2, 3]), None);
        assert_eq!(of(&[5, 1], &[2, 3]), Some("its positions must ascend"));
        assert_eq!(of(&[1, 1], &[2, 3]), Some("its positions must ascend"));
        assert_eq!(
            of(&[1, 6], &[2, 3]),
            Some("a position lies outside of its shape")
        );
        assert_eq!(
            of(&[-1, 5], &[2, 3]),
            Some("a position lies outside of its shape")
        );
        assert_eq!(
            of(&[1, 5], &[]),
            Some("its shape must have axes, none of size 0")
        );
        assert!(of(&[1, 2, 3], &[2, 3]).is_some());
        let pairs = Tensor::from_vec(&[2, 2], vec![0i64, 1, 1, 2]).unwrap();
        assert_eq!(fault(&tensor(vec![1.0, 2.0], pairs.clone(), &[2, 3])), None);
        assert_eq!(
            fault(&tensor(vec![1.0, 2.0], pairs, &[2, 2])),
            Some("a position lies outside of its shape")
        );
        let narrow = Tensor::vector(vec![1i32, 5]);
        assert!(fault(&tensor(vec![1.0, 2.0], narrow, &[2, 3])).is_some());
    }
}
