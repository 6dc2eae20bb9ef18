//! The pieces of a layer's input that its weight is multiplied with.

use compress_tensor::Tensor;
use onnx_ir::{Attribute, Node};

/// How an input is cut: rows of a matrix product, or patches under a convolution's kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Patches {
    /// Channels in one patch.
    channels: usize,
    /// Groups of a convolution; each has patches of its own.
    pub groups: usize,
    /// `None` for rows along the last axis.
    window: Option<Window>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Window {
    kernel: Vec<usize>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
    /// Before and behind each axis, where they are given.
    pads: Pads,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pads {
    Given(Vec<usize>),
    /// `SAME_UPPER`; or `SAME_LOWER`, where the odd element is at the front.
    Same {
        lower: bool,
    },
}

impl Patches {
    /// Of a node with a constant weight of this shape; `None` for forms that are not rounded to their inputs, as a
    /// product with one matrix for each of a batch.
    pub(super) fn of(node: &Node, weight: &[usize]) -> Option<Self> {
        match node.op_type.as_str() {
            "MatMul" if weight.len() == 2 => Some(Self::rows_of(weight[0])),
            "Gemm" if weight.len() == 2 => {
                let transposed = matches!(node.attributes.get("transB"), Some(Attribute::Int(1)));
                Some(Self::rows_of(weight[usize::from(transposed)]))
            }
            "Conv" if weight.len() > 2 => {
                let axes = weight.len() - 2;
                let groups = match node.attributes.get("group") {
                    Some(Attribute::Int(n)) => usize::try_from(*n).ok().filter(|&n| n > 0)?,
                    _ => 1,
                };
                let sizes =
                    |name: &str, length: usize, otherwise: usize| match node.attributes.get(name) {
                        Some(Attribute::Ints(all)) if all.len() == length => {
                            let each = all.iter().map(|&n| usize::try_from(n).ok());
                            each.collect::<Option<Vec<_>>>()
                        }
                        Some(_) => None,
                        None => Some(vec![otherwise; length]),
                    };
                let automatic = match node.attributes.get("auto_pad") {
                    Some(Attribute::String(s)) => String::from_utf8_lossy(s).into_owned(),
                    _ => "NOTSET".to_owned(),
                };
                let pads = match automatic.as_str() {
                    "NOTSET" => Pads::Given(sizes("pads", 2 * axes, 0)?),
                    "VALID" => Pads::Given(vec![0; 2 * axes]),
                    "SAME_UPPER" => Pads::Same { lower: false },
                    "SAME_LOWER" => Pads::Same { lower: true },
                    _ => return None,
                };
                Some(Self {
                    channels: weight[1],
                    groups,
                    window: Some(Window {
                        kernel: weight[2..].to_vec(),
                        strides: sizes("strides", axes, 1)?,
                        dilations: sizes("dilations", axes, 1)?,
                        pads,
                    }),
                })
            }
            _ => None,
        }
    }

    fn rows_of(channels: usize) -> Self {
        Self {
            channels,
            groups: 1,
            window: None,
        }
    }

    /// Numbers in one patch.
    pub(super) fn width(&self) -> usize {
        let window = self.window.as_ref();
        self.channels * window.map_or(1, |w| w.kernel.iter().product())
    }

    /// Patches at up to `places` places, one after the other, for each group. Which places differs from sample to
    /// sample and is the same in every run. Empty where `tensor` is not of the expected form.
    pub(super) fn rows(&self, tensor: &Tensor, places: usize, sample: usize) -> Vec<Vec<f32>> {
        let Ok(data) = tensor.data::<f32>() else {
            return Vec::new();
        };
        match &self.window {
            None if tensor.shape().last() == Some(&self.channels) => {
                let rows = data.len() / self.channels.max(1);
                let chosen = spread(rows, places, sample);
                let k = self.channels;
                vec![
                    chosen
                        .flat_map(|r| &data[r * k..(r + 1) * k])
                        .copied()
                        .collect(),
                ]
            }
            Some(window) if tensor.rank() == window.kernel.len() + 2 => {
                self.windows(window, &data, tensor.shape(), places, sample)
            }
            _ => Vec::new(),
        }
    }

    fn windows(
        &self,
        window: &Window,
        data: &[f32],
        shape: &[usize],
        places: usize,
        sample: usize,
    ) -> Vec<Vec<f32>> {
        if shape[1] != self.channels * self.groups {
            return Vec::new();
        }
        let sizes = &shape[2..];
        let Some((before, outputs)) = window.outputs(sizes) else {
            return Vec::new();
        };
        let plane: usize = sizes.iter().product();
        let per_image: usize = outputs.iter().product();
        let mut rows = vec![Vec::new(); self.groups];
        for place in spread(shape[0] * per_image, places, sample) {
            let (image, at) = (place / per_image, place % per_image);
            let taps = window.taps(&unravel(at, &outputs), &before, sizes);
            for (group, rows) in rows.iter_mut().enumerate() {
                for channel in 0..self.channels {
                    let base = (image * shape[1] + group * self.channels + channel) * plane;
                    rows.extend(taps.iter().map(|t| t.map_or(0.0, |t| data[base + t])));
                }
            }
        }
        rows
    }
}

impl Window {
    /// Padding before each axis, and the output's sizes; `None` where the kernel does not fit.
    fn outputs(&self, sizes: &[usize]) -> Option<(Vec<usize>, Vec<usize>)> {
        let (mut before, mut outputs) = (Vec::new(), Vec::new());
        for (axis, &size) in sizes.iter().enumerate() {
            let reach = (self.kernel[axis].checked_sub(1)?) * self.dilations[axis] + 1;
            let stride = self.strides[axis].max(1);
            let (front, output) = match &self.pads {
                Pads::Given(pads) => {
                    let whole = size + pads[axis] + pads[axis + sizes.len()];
                    (pads[axis], whole.checked_sub(reach)? / stride + 1)
                }
                Pads::Same { lower } => {
                    let output = size.div_ceil(stride);
                    let total = ((output.max(1) - 1) * stride + reach).saturating_sub(size);
                    ((total + usize::from(*lower)) / 2, output)
                }
            };
            before.push(front);
            outputs.push(output);
        }
        Some((before, outputs))
    }

    /// Where each element of the kernel lies in a plane, for the output at `at`; `None` in the padding.
    fn taps(&self, at: &[usize], before: &[usize], sizes: &[usize]) -> Vec<Option<usize>> {
        let count = self.kernel.iter().product();
        let tap = |k: usize| {
            let offsets = unravel(k, &self.kernel);
            let mut flat = 0;
            for axis in 0..sizes.len() {
                let place = at[axis] * self.strides[axis] + offsets[axis] * self.dilations[axis];
                let place = place.checked_sub(before[axis])?;
                if place >= sizes[axis] {
                    return None;
                }
                flat = flat * sizes[axis] + place;
            }
            Some(flat)
        };
        (0..count).map(tap).collect()
    }
}

/// The index along each axis of the `at`-th place in C order.
fn unravel(mut at: usize, sizes: &[usize]) -> Vec<usize> {
    let mut index = vec![0; sizes.len()];
    for axis in (0..sizes.len()).rev() {
        index[axis] = at % sizes[axis];
        at /= sizes[axis];
    }
    index
}

/// Up to `most` of `count` places in equal distances, from a start that the sample's number moves.
fn spread(count: usize, most: usize, sample: usize) -> impl Iterator<Item = usize> {
    let taken = count.min(most);
    // Multiples of the golden section modulo 1 fill the distance evenly.
    let start = (sample as f64 * 0.618_033_988_749_895).fract();
    let start = if taken == count { 0.0 } else { start };
    (0..taken).map(move |i| ((i as f64 + start) * count as f64 / taken as f64) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(op: &str) -> Node {
        let none: [onnx_ir::ValueId; 0] = [];
        Node::new(op, none, none)
    }

    fn image(shape: &[usize]) -> Tensor {
        let n = shape.iter().product::<usize>();
        Tensor::from_vec(shape, (1..=n).map(|i| i as f32).collect()).unwrap()
    }

    #[test]
    fn patches_are_what_a_convolution_multiplies() {
        // 4 x 4 image, 3 x 3 kernel, stride 2, one row and column of padding in front.
        let node = bare("Conv")
            .with("strides", vec![2i64, 2])
            .with("pads", vec![1i64, 1, 0, 0]);
        let patches = Patches::of(&node, &[1, 1, 3, 3]).unwrap();
        assert_eq!(patches.width(), 9);
        let rows = patches.rows(&image(&[1, 1, 4, 4]), 64, 5);
        let expected = [
            [0, 0, 0, 0, 1, 2, 0, 5, 6],
            [0, 0, 0, 2, 3, 4, 6, 7, 8],
            [0, 5, 6, 0, 9, 10, 0, 13, 14],
            [6, 7, 8, 10, 11, 12, 14, 15, 16],
        ];
        assert_eq!(
            rows,
            [expected
                .concat()
                .iter()
                .map(|&v| v as f32)
                .collect::<Vec<_>>()]
        );
    }

    #[test]
    fn same_padding_and_groups() {
        let node = bare("Conv")
            .with("auto_pad", "SAME_UPPER")
            .with("group", 2i64);
        let patches = Patches::of(&node, &[2, 1, 2]).unwrap();
        let rows = patches.rows(&image(&[1, 2, 3]), 64, 0);
        let expected: [&[f32]; 2] = [&[1., 2., 2., 3., 3., 0.], &[4., 5., 5., 6., 6., 0.]];
        assert_eq!(rows, expected);
    }

    #[test]
    fn few_places_are_spread_and_differ_between_samples() {
        let first: Vec<_> = spread(100, 4, 0).collect();
        assert_eq!(first, [0, 25, 50, 75]);
        let second: Vec<_> = spread(100, 4, 1).collect();
        assert_eq!(second, [15, 40, 65, 90]);
        assert_eq!(spread(3, 4, 7).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn rows_of_a_product_lie_along_the_last_axis() {
        let gemm = bare("Gemm").with("transB", 1i64);
        let patches = Patches::of(&gemm, &[5, 3]).unwrap();
        assert_eq!(patches.width(), 3);
        let rows = patches.rows(&image(&[2, 3]), 1, 1);
        // Of two rows one is taken, the second for this sample.
        assert_eq!(rows, [[4.0, 5.0, 6.0]]);
    }
}
