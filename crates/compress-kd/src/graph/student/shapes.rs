//! How operators carry widths that divide or join axes: convolutions, concatenation, reshaping.

use super::axes::{Axis, Fixed};
use super::follow::Follower;
use onnx_ir::{Attribute, NodeId};

type Reason = String;

impl Follower<'_> {
    /// `W [c_out, c_in / groups, ..]`; depthwise ones have as many groups as channels.
    pub(super) fn conv(&mut self, id: NodeId) -> Result<(), Reason> {
        let (x, w, y) = (self.input(id, 0)?, self.input(id, 1)?, self.output(id)?);
        let groups = self.groups(id)?;
        self.same(id, w.first(), y.get(1));
        if let Some(bias) = self.graph.node(id).input(2) {
            let bias = self.known(Some(bias))?;
            self.same(id, bias.first(), y.get(1));
        }
        let channels = self.size(x.get(1));
        if groups > 1 && channels == Some(groups) {
            self.depthwise.push(id);
            return self.multiplied(id, &x, &y, groups);
        }
        self.grouped(id, x.get(1), w.get(1), groups);
        let each = self.size(w.first()).map(|n| n / groups);
        let each = each.map(|n| self.axes.atom(n));
        self.grouped(id, y.get(1), Some(&each), groups);
        let weight = self.graph.node(id).input(1).filter(|&v| self.is_weight(v));
        if let Some(weight) = weight {
            self.hide(Some(&each), weight);
        }
        Ok(())
    }

    /// A depthwise convolution gives each channel as many new ones.
    fn multiplied(
        &mut self,
        id: NodeId,
        x: &[Option<Axis>],
        y: &[Option<Axis>],
        groups: usize,
    ) -> Result<(), Reason> {
        let Some(outputs) = self.size(y.get(1)) else {
            return Err("the number of its channels is not known".into());
        };
        let each = outputs / groups;
        let channels = x.get(1).cloned().flatten();
        let whole = channels.map(|channels| {
            let each = self.axes.atom(each);
            Axis::Product(vec![channels, each])
        });
        self.same(id, y.get(1), Some(&whole));
        Ok(())
    }

    /// `[c_in, c_out / groups, ..]`.
    pub(super) fn conv_transpose(&mut self, id: NodeId) -> Result<(), Reason> {
        let (x, w, y) = (self.input(id, 0)?, self.input(id, 1)?, self.output(id)?);
        let groups = self.groups(id)?;
        if groups > 1 {
            return Err("it has groups".into());
        }
        self.same(id, w.first(), x.get(1));
        self.same(id, w.get(1), y.get(1));
        if let Some(bias) = self.graph.node(id).input(2) {
            let bias = self.known(Some(bias))?;
            self.same(id, bias.first(), y.get(1));
        }
        let weight = self.graph.node(id).input(1).filter(|&v| self.is_weight(v));
        if let Some(weight) = weight {
            self.hide(w.get(1), weight);
        }
        Ok(())
    }

    fn groups(&self, id: NodeId) -> Result<usize, Reason> {
        match self.graph.node(id).attributes.get("group") {
            Some(Attribute::Int(groups)) => usize::try_from(*groups)
                .ok()
                .filter(|&g| g > 0)
                .ok_or_else(|| "its groups are no positive number".into()),
            _ => Ok(1),
        }
    }

    /// `channels = groups x each`.
    fn grouped(
        &mut self,
        id: NodeId,
        channels: Option<&Option<Axis>>,
        each: Option<&Option<Axis>>,
        groups: usize,
    ) {
        let Some(Some(each)) = each else { return };
        let groups = self.axes.atom(groups);
        // Groups keep their number: what each of them has changes.
        self.axes.fix(&groups, &Fixed::Boundary);
        let whole = Some(Axis::Product(vec![groups, each.clone()]));
        self.same(id, channels, Some(&whole));
    }

    pub(super) fn concat(&mut self, id: NodeId) -> Result<(), Reason> {
        let node = self.graph.node(id);
        let y = self.output(id)?;
        let joined = self.axis_attribute(node, 0, y.len())?;
        let mut parts = Vec::new();
        for input in node.inputs() {
            let x = self.known(*input)?;
            for (at, axis) in x.iter().enumerate().filter(|(at, _)| *at != joined) {
                self.same(id, Some(axis), y.get(at));
            }
            parts.push(x.get(joined).cloned().flatten());
        }
        self.sum(id, y.get(joined), parts);
        Ok(())
    }

    pub(super) fn split(&mut self, id: NodeId) -> Result<(), Reason> {
        let node = self.graph.node(id);
        let x = self.input(id, 0)?;
        let divided = self.axis_attribute(node, 0, x.len())?;
        let mut parts = Vec::new();
        for output in node.outputs() {
            let y = self.known(*output)?;
            for (at, axis) in y.iter().enumerate().filter(|(at, _)| *at != divided) {
                self.same(id, Some(axis), x.get(at));
            }
            parts.push(y.get(divided).cloned().flatten());
        }
        self.splits.push(id);
        self.sum(id, x.get(divided), parts);
        Ok(())
    }

    /// `whole = Σ parts`, where all are known.
    fn sum(&mut self, id: NodeId, whole: Option<&Option<Axis>>, parts: Vec<Option<Axis>>) {
        let parts: Option<Vec<Axis>> = parts.into_iter().collect();
        match parts {
            Some(mut parts) if parts.len() == 1 => {
                let part = parts.pop();
                self.same(id, whole, Some(&part));
            }
            Some(parts) => self.same(id, whole, Some(&Some(Axis::Sum(parts)))),
            None => {}
        }
    }

    pub(super) fn flatten(&mut self, id: NodeId) -> Result<(), Reason> {
        let (x, y) = (self.input(id, 0)?, self.output(id)?);
        let at = self.axis_attribute(self.graph.node(id), 1, x.len())?;
        for (part, whole) in [(&x[..at], y.first()), (&x[at..], y.get(1))] {
            let part: Option<Vec<Axis>> = part.iter().cloned().collect();
            if let Some(part) = part.filter(|part| !part.is_empty()) {
                self.same(id, Some(&Some(Axis::Product(part))), whole);
            }
        }
        Ok(())
    }

    /// The same elements in the same order: what both shapes begin and end with is the same, the rest a product.
    pub(super) fn reshape(&mut self, id: NodeId) -> Result<(), Reason> {
        let node = self.graph.node(id);
        let (x, y) = (self.input(id, 0)?, self.output(id)?);
        let dims = |value| {
            let fact = self.graph.value(value).fact.as_tensor();
            fact.and_then(|f| f.shape.clone()).unwrap_or_default()
        };
        let (of_x, of_y) = match (node.input(0), node.output(0)) {
            (Some(x), Some(y)) => (dims(x), dims(y)),
            _ => return Err("an input is missing".into()),
        };
        if of_x.len() != x.len() || of_y.len() != y.len() {
            // A constant's shape is that of its tensor.
            return Err("it reshapes a constant".into());
        }
        let alike = |i: usize, j: usize| of_x[i].is_same(&of_y[j]);
        let shorter = x.len().min(y.len());
        let ahead = (0..shorter).take_while(|&i| alike(i, i)).count();
        let behind = (1..=shorter - ahead)
            .take_while(|&i| alike(x.len() - i, y.len() - i))
            .count();
        for i in 0..ahead {
            self.same(id, x.get(i), y.get(i));
        }
        for i in 1..=behind {
            self.same(id, x.get(x.len() - i), y.get(y.len() - i));
        }
        self.reshapes.push(id);
        let (x, y) = (&x[ahead..x.len() - behind], &y[ahead..y.len() - behind]);
        let whole = |axes: &[Option<Axis>]| -> Option<Vec<Axis>> { axes.iter().cloned().collect() };
        match (whole(x), whole(y)) {
            (Some(x), Some(y)) if !x.is_empty() && !y.is_empty() => {
                self.same(
                    id,
                    Some(&Some(Axis::Product(x))),
                    Some(&Some(Axis::Product(y))),
                );
                Ok(())
            }
            // All that is left are open axes and ones.
            _ if x
                .iter()
                .chain(y)
                .all(|a| self.size(Some(a)).is_none_or(|n| n == 1)) =>
            {
                Ok(())
            }
            _ => Err("it joins or divides axes of open sizes".into()),
        }
    }

    pub(super) fn transpose(&mut self, id: NodeId) -> Result<(), Reason> {
        let node = self.graph.node(id);
        let (x, y) = (self.input(id, 0)?, self.output(id)?);
        let order: Vec<usize> = match node.attributes.get("perm") {
            Some(Attribute::Ints(order)) => order
                .iter()
                .filter_map(|&at| usize::try_from(at).ok())
                .collect(),
            _ => (0..x.len()).rev().collect(),
        };
        for (from, to) in order.into_iter().zip(&y) {
            self.same(id, x.get(from), Some(to));
        }
        Ok(())
    }

    /// Axes of 1 come or go: the others stay in their order.
    pub(super) fn view(&mut self, id: NodeId) -> Result<(), Reason> {
        let node = self.graph.node(id);
        let (x, y) = (self.input(id, 0)?, self.output(id)?);
        let (long, short) = if x.len() > y.len() {
            (&x, &y)
        } else {
            (&y, &x)
        };
        let rank = long.len() as i64;
        let axes: Vec<i64> = match self.ints(node, "axes", 1) {
            Some(axes) => axes
                .into_iter()
                .map(|a| a.rem_euclid(rank.max(1)))
                .collect(),
            // A `Squeeze` without axes takes away all axes of 1.
            None => (0..rank)
                .filter(|&at| self.size(long.get(at as usize)) == Some(1))
                .collect(),
        };
        if long.len() != short.len() + axes.len() {
            return Err("its axes are not known".into());
        }
        let stay = (0..long.len()).filter(|&at| !axes.contains(&(at as i64)));
        let stay: Vec<usize> = stay.collect();
        for (at, other) in stay.into_iter().zip(short) {
            self.same(id, long.get(at), Some(other));
        }
        Ok(())
    }
}
