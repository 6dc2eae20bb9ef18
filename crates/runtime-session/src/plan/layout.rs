//! Which values hold images with their channels last.
//!
//! ONNX images are `[batch, channels, height, width]`. The convolution kernels are faster on `[batch, height, width,
//! channels]`: the elements under one tap of a window are neighbours, and depthwise filters run over whole vectors of
//! channels. Such convolutions are bound to read and write that order ([`ImageOrder::Last`]). This stage goes through
//! the bound steps once, from the first to the last, and
//!
//! - lets a step that works in either order (pooling, sums, activations, `Concat`) follow its images;
//! - inserts a transposition where a step reads a value that exists in the other order only;
//! - turns a `Transpose` between the two orders, as files converted from TensorFlow hold, into a view. Into channels
//!   first, only for the element types that kernels on images read: what reads an image of another type is bound to the
//!   model's order, and the transposition would be put off, not saved.
//!
//! The choice is greedy: channels-last spreads from the convolutions downwards and ends where a step needs the model's
//! own order. Each value is transposed once at most in each direction, at the border of a convolutional region; there
//! one side is the network's input of few channels, or a small map before a head, so that looking for a cheaper cut
//! gains little. Outputs exist in the model's order, under their own ids, and so do tapped values unless
//! [`TapOrder::Memory`](crate::TapOrder::Memory) lets them stay as they are; the other order has ids of its own, behind
//! those of the graph.

use super::DraftStep;
use crate::bindings::{self, identity, reorder};
use crate::step::{ImageOrder, Step};
use compress_tensor::{DType, Tensor};
use onnx_ir::ValueId;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What the stage works on and adds to.
pub(crate) struct Layouts<'a> {
    /// Whether a value has four axes.
    pub(crate) is_image: &'a dyn Fn(ValueId) -> bool,
    /// The element type of a value, where it is known.
    pub(crate) dtype: &'a dyn Fn(ValueId) -> Option<DType>,
    /// Whether a value must exist in the model's order.
    pub(crate) is_kept: &'a dyn Fn(ValueId) -> bool,
    /// The profile's row for a transposition of the value of this name.
    pub(crate) row: &'a dyn Fn(&str) -> usize,
    pub(crate) constants: &'a mut HashMap<ValueId, Tensor>,
    /// Names by value; grows by those of the values in the other order.
    pub(crate) names: &'a mut Vec<String>,
    /// The graph's value that each value holds, by value; grows with the names.
    pub(crate) origins: &'a mut Vec<ValueId>,
}

impl Layouts<'_> {
    /// The steps with an order of channels given to each value, and under which id the values lie that do not exist
    /// in the model's order.
    pub(crate) fn assign(
        self,
        steps: Vec<DraftStep>,
    ) -> (Vec<DraftStep>, HashMap<ValueId, ValueId>) {
        let wanted = |s: &DraftStep| matches!(s.step.image_order(), ImageOrder::Last);
        if !steps.iter().any(wanted) {
            return (steps, HashMap::new());
        }
        let mut assignment = Assignment {
            layouts: self,
            last: HashMap::new(),
            born_last: HashSet::new(),
            only_last: HashSet::new(),
            steps: Vec::with_capacity(steps.len()),
        };
        for step in steps {
            assignment.place(step);
        }
        let mut elsewhere = assignment.last;
        elsewhere.retain(|v, _| assignment.only_last.contains(v));
        (assignment.steps, elsewhere)
    }
}

struct Assignment<'a> {
    layouts: Layouts<'a>,
    /// Values that exist with channels last, and under which id.
    last: HashMap<ValueId, ValueId>,
    /// Those of them that a step wrote so.
    born_last: HashSet<ValueId>,
    /// Those of them that do not exist in the model's order.
    only_last: HashSet<ValueId>,
    steps: Vec<DraftStep>,
}

impl Assignment<'_> {
    fn place(&mut self, mut step: DraftStep) {
        match step.step.image_order() {
            ImageOrder::Last => self.place_last(step),
            ImageOrder::Either if self.follows(&step) => self.place_last(step),
            ImageOrder::LastBy(other) if self.follows(&step) => {
                step.step = other;
                self.place_last(step);
            }
            ImageOrder::FromLast if self.is_last(&step) => {
                let image = step.inputs.first().copied().flatten();
                step.inputs = vec![image.and_then(|v| self.last.get(&v).copied())];
                step.step = identity();
                self.steps.push(step);
            }
            ImageOrder::ToLast if self.feeds_last(&step) => {
                self.in_model_order(&step);
                step.step = identity();
                self.write_last(step);
            }
            _ => {
                self.in_model_order(&step);
                self.steps.push(step);
            }
        }
    }

    /// Whether a step in either order should read its images with channels last: one of them was written so, and all
    /// others are images or constants that are spread over images.
    fn follows(&self, step: &DraftStep) -> bool {
        let inputs = step.inputs.iter().enumerate();
        let mut inputs = inputs
            .filter(|(index, _)| step.step.reads_image(*index))
            .filter_map(|(_, v)| v.as_ref());
        let fits = |v: &ValueId| match self.layouts.constants.get(v) {
            Some(tensor) => ConstantLast::of(tensor).is_some(),
            None => self.born_last.contains(v) || (self.layouts.is_image)(*v),
        };
        inputs.clone().any(|v| self.born_last.contains(v)) && inputs.all(fits)
    }

    fn is_last(&self, step: &DraftStep) -> bool {
        let image = step.inputs.first().copied().flatten();
        image.is_some_and(|v| self.last.contains_key(&v))
    }

    /// Whether the result of a transposition is an image of a type that kernels on images read; constants are
    /// transposed when they are packed.
    fn feeds_last(&self, step: &DraftStep) -> bool {
        let image = step.inputs.first().copied().flatten();
        image.is_some_and(|v| {
            let dtype = (self.layouts.dtype)(v);
            (self.layouts.is_image)(v) && dtype.is_some_and(bindings::is_read_in_images)
        })
    }

    /// Adds a step that reads and writes channels-last images.
    fn place_last(&mut self, mut step: DraftStep) {
        for (index, input) in step.inputs.iter_mut().enumerate() {
            let Some(input) = input else { continue };
            if step.step.reads_image(index) {
                *input = self.channels_last(*input);
            } else if self.only_last.contains(input) {
                self.model_order(*input);
            }
        }
        if step.step.writes_image() {
            self.write_last(step);
        } else {
            self.steps.push(step);
        }
    }

    /// Adds a step whose first output has its channels last.
    fn write_last(&mut self, mut step: DraftStep) {
        let Some(value) = step.outputs.first().copied().flatten() else {
            self.steps.push(step);
            return;
        };
        let id = self.new_id(value);
        self.last.insert(value, id);
        self.born_last.insert(value);
        self.only_last.insert(value);
        step.outputs[0] = Some(id);
        self.steps.push(step);
        if (self.layouts.is_kept)(value) {
            self.model_order(value);
        }
    }

    /// The id of a value with its channels last, transposed where it does not exist.
    fn channels_last(&mut self, value: ValueId) -> ValueId {
        if let Some(&id) = self.last.get(&value) {
            return id;
        }
        match self.layouts.constants.get(&value).map(ConstantLast::of) {
            Some(Some(ConstantLast::AsItIs)) => return value,
            Some(Some(ConstantLast::Reordered(tensor))) => {
                let id = self.new_id(value);
                self.layouts.constants.insert(id, tensor);
                self.last.insert(value, id);
                return id;
            }
            // One that no kernel on images takes is transposed as the plan runs, as any image.
            Some(None) | None => {}
        }
        let id = self.new_id(value);
        self.last.insert(value, id);
        self.transpose(value, reorder(&TO_LAST), value, id);
        id
    }

    /// Sees to it that all inputs of a step exist in the model's order.
    fn in_model_order(&mut self, step: &DraftStep) {
        for &value in step.inputs.iter().flatten() {
            if self.only_last.contains(&value) {
                self.model_order(value);
            }
        }
    }

    fn model_order(&mut self, value: ValueId) {
        self.only_last.remove(&value);
        if let Some(&id) = self.last.get(&value) {
            self.transpose(value, reorder(&FROM_LAST), id, value);
        }
    }

    fn transpose(&mut self, named: ValueId, step: Arc<dyn Step>, from: ValueId, to: ValueId) {
        let name = &self.layouts.names[named.index()];
        let row = (self.layouts.row)(name);
        self.steps.push(DraftStep {
            step,
            inputs: vec![Some(from)],
            outputs: vec![Some(to)],
            node: format!("layout of `{name}`").into(),
            row,
            fused: Arc::default(),
        });
    }

    fn new_id(&mut self, value: ValueId) -> ValueId {
        let names = &mut self.layouts.names;
        let name = format!("{} (channels last)", names[value.index()]);
        names.push(name);
        self.layouts.origins.push(value);
        ValueId::from_index(names.len() - 1)
    }
}

/// `[batch, channels, height, width]` to `[batch, height, width, channels]`.
pub(crate) const TO_LAST: [usize; 4] = [0, 2, 3, 1];
/// The way back.
pub(crate) const FROM_LAST: [usize; 4] = [0, 3, 1, 2];

/// How a constant is broadcast over images with their channels last.
enum ConstantLast {
    /// One element fits every order.
    AsItIs,
    /// Its axes in the order of such images.
    Reordered(Tensor),
}

impl ConstantLast {
    /// `None` where it cannot be: with more axes than an image, which the result would take over; with one or two, as
    /// scales per channel have, which do not follow the rules of broadcasting; of a type that no kernel on images reads.
    fn of(tensor: &Tensor) -> Option<Self> {
        match tensor.rank() {
            0..=4 if tensor.len() == 1 => Some(Self::AsItIs),
            3 | 4 => {
                let mut shape = vec![1; 4 - tensor.rank()];
                shape.extend(tensor.shape());
                let image = tensor.reshape(&shape).ok()?;
                bindings::reordered(&image, &TO_LAST).map(Self::Reordered)
            }
            _ => None,
        }
    }
}
