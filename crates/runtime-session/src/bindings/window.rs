//! Attributes of operators that slide a window over an image: convolution and pooling.

use compress_tensor::Shape;
use onnx_ir::operator::{Attrs, EvalError};
use onnx_ir::{Attribute, Node};

/// How the padding is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AutoPad {
    /// From the attribute `pads`.
    NotSet,
    Valid,
    SameUpper,
    SameLower,
}

/// Strides, dilations and padding; the padding may depend on the size of the image.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) strides: Vec<usize>,
    pub(crate) dilations: Vec<usize>,
    pads: Vec<usize>,
    auto_pad: AutoPad,
}

impl Window {
    /// The attributes of a node for `rank` spatial axes; `None` where they have no meaning or pads are negative.
    pub(crate) fn of(node: &Node, rank: usize) -> Option<Self> {
        let mut attrs = Attrs::new(&node.attributes, 1, 0, 0);
        let mut sizes = |name: &'static str, len: usize, default: usize| {
            let list = attrs.ints_opt(name).ok()?.unwrap_or_default();
            let list: Vec<usize> = list
                .into_iter()
                .map(|n| usize::try_from(n).ok())
                .collect::<Option<_>>()?;
            match list.is_empty() {
                true => Some(vec![default; len]),
                false => (list.len() == len).then_some(list),
            }
        };
        let strides = sizes("strides", rank, 1)?;
        let dilations = sizes("dilations", rank, 1)?;
        let pads = sizes("pads", 2 * rank, 0)?;
        let auto_pad = match node.attributes.get("auto_pad") {
            None => AutoPad::NotSet,
            Some(Attribute::String(s)) => match s.as_slice() {
                b"NOTSET" | b"" => AutoPad::NotSet,
                b"VALID" => AutoPad::Valid,
                b"SAME_UPPER" => AutoPad::SameUpper,
                b"SAME_LOWER" => AutoPad::SameLower,
                _ => return None,
            },
            Some(_) => return None,
        };
        Some(Self {
            strides,
            dilations,
            pads,
            auto_pad,
        })
    }

    /// Padding before and after each spatial axis for an image of these sizes.
    ///
    /// # Errors
    /// [`EvalError::Rule`] for a stride of zero.
    pub(crate) fn pads(
        &self,
        image: &[usize],
        kernel: &[usize],
    ) -> Result<(Shape, Shape), EvalError> {
        let rank = self.strides.len();
        match self.auto_pad {
            AutoPad::NotSet => return Ok((self.pads[..rank].into(), self.pads[rank..].into())),
            AutoPad::Valid => return Ok((Shape::filled(rank, 0), Shape::filled(rank, 0))),
            AutoPad::SameUpper | AutoPad::SameLower => {}
        }
        let (mut before, mut after) = (Shape::new(), Shape::new());
        for (axis, (&size, &taps)) in image.iter().zip(kernel).enumerate() {
            let stride = self.strides[axis];
            if stride == 0 {
                return Err(EvalError::rule("strides must be positive", 0));
            }
            let window = (taps.saturating_sub(1))
                .saturating_mul(self.dilations[axis])
                .saturating_add(1);
            let covered = (size.div_ceil(stride).saturating_sub(1))
                .saturating_mul(stride)
                .saturating_add(window);
            let total = covered.saturating_sub(size);
            let less = total / 2;
            let upper = self.auto_pad == AutoPad::SameUpper;
            before.push(if upper { less } else { total - less });
            after.push(if upper { total - less } else { less });
        }
        Ok((before, after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use onnx_ir::ValueId;

    fn window(auto_pad: &str) -> Window {
        let node = Node::new("Conv", [None::<ValueId>; 0], [None::<ValueId>; 0])
            .with("auto_pad", auto_pad)
            .with("strides", vec![2i64, 1]);
        Window::of(&node, 2).unwrap()
    }

    #[test]
    fn same_padding_keeps_the_size_up_to_the_stride() {
        let image = [5, 6];
        assert_eq!(
            window("SAME_UPPER").pads(&image, &[2, 4]),
            Ok(([0, 1].into(), [1, 2].into()))
        );
        assert_eq!(
            window("SAME_LOWER").pads(&image, &[2, 4]),
            Ok(([1, 2].into(), [0, 1].into()))
        );
        assert_eq!(
            window("VALID").pads(&image, &[2, 4]),
            Ok(([0, 0].into(), [0, 0].into()))
        );
    }

    #[test]
    fn negative_and_missing_pads_are_no_window() {
        let node = Node::new("Conv", [None::<ValueId>; 0], [None::<ValueId>; 0]);
        assert!(Window::of(&node.clone().with("pads", vec![0i64, -1, 0, 0]), 2).is_none());
        assert!(Window::of(&node.with("pads", vec![0i64, 0]), 2).is_none());
    }
}
