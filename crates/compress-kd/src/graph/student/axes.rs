//! Axes of tensors as terms: which widths are the same, which are products or sums of others.
//!
//! An axis is an *atom*, a product of axes (row-major: channels times places behind a `Flatten`, heads times their width) or a sum
//! of axes (behind a `Concat`). Operators state equations between axes; [`Axes::unify`] solves them by binding atoms to terms, as in
//! unification of first-order terms, and splits an atom where the other side divides it.

use std::collections::HashMap;

/// What an axis is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    /// One that is not divided.
    Atom(usize),
    /// Of several, the last one fastest.
    Product(Vec<Axis>),
    /// Of several, one behind the other.
    Sum(Vec<Axis>),
}

/// Why an atom keeps its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fixed {
    /// It is seen from outside.
    Boundary,
    /// A node through which it cannot be followed, and why.
    Refused { node: String, reason: String },
}

#[derive(Clone, Debug)]
struct Atom {
    size: usize,
    bound: Option<Axis>,
    /// A weight of this width, where it is one that a network chooses.
    hidden: Option<String>,
    fixed: Option<Fixed>,
}

/// All atoms of a graph.
#[derive(Default)]
pub(super) struct Axes {
    atoms: Vec<Atom>,
}

impl Axes {
    pub(super) fn atom(&mut self, size: usize) -> Axis {
        self.atoms.push(Atom {
            size,
            bound: None,
            hidden: None,
            fixed: None,
        });
        Axis::Atom(self.atoms.len() - 1)
    }

    pub(super) fn size(&self, axis: &Axis) -> usize {
        match axis {
            Axis::Atom(atom) => self.atoms[*atom].size,
            Axis::Product(parts) => parts.iter().map(|p| self.size(p)).product(),
            Axis::Sum(parts) => parts.iter().map(|p| self.size(p)).sum(),
        }
    }

    /// With all bindings put in.
    pub(super) fn resolve(&self, axis: &Axis) -> Axis {
        match axis {
            Axis::Atom(atom) => {
                // Atoms bound to atoms make long chains.
                let mut at = *atom;
                while let Some(Axis::Atom(next)) = self.atoms[at].bound {
                    at = next;
                }
                match &self.atoms[at].bound {
                    Some(bound) => self.resolve(bound),
                    None => Axis::Atom(at),
                }
            }
            Axis::Product(parts) => self.flat(parts, true),
            Axis::Sum(parts) => self.flat(parts, false),
        }
    }

    fn flat(&self, parts: &[Axis], is_product: bool) -> Axis {
        let mut flat = Vec::with_capacity(parts.len());
        for part in parts {
            match self.resolve(part) {
                Axis::Product(inner) if is_product => flat.extend(inner),
                Axis::Sum(inner) if !is_product => flat.extend(inner),
                // A factor of 1 says nothing.
                part if is_product && self.size(&part) == 1 => {}
                part => flat.push(part),
            }
        }
        match (flat.len(), is_product) {
            (1, _) => flat.swap_remove(0),
            (0, true) => parts
                .first()
                .map_or(Axis::Product(flat), |p| self.resolve(p)),
            (_, true) => Axis::Product(flat),
            (_, false) => Axis::Sum(flat),
        }
    }

    /// The unbound atoms within.
    pub(super) fn atoms_of(&self, axis: &Axis) -> Vec<usize> {
        match self.resolve(axis) {
            Axis::Atom(atom) => vec![atom],
            Axis::Product(parts) | Axis::Sum(parts) => {
                parts.iter().flat_map(|p| self.atoms_of(p)).collect()
            }
        }
    }

    /// States that two axes are the same; where that cannot be, both keep their sizes because of the node.
    pub(super) fn unify(&mut self, a: &Axis, b: &Axis, node: &str) {
        let (a, b) = (self.resolve(a), self.resolve(b));
        if a == b {
            return;
        }
        let is_solved = self.size(&a) == self.size(&b)
            && match (&a, &b) {
                // The newer one to the older one, so that chains stay short.
                (Axis::Atom(x), Axis::Atom(y)) => self.bind(*x.max(y), &Axis::Atom(*x.min(y))),
                (Axis::Atom(atom), other) | (other, Axis::Atom(atom)) => self.bind(*atom, other),
                (Axis::Product(x), Axis::Product(y)) => self.zip(x, y, true, node),
                (Axis::Sum(x), Axis::Sum(y)) => self.zip(x, y, false, node),
                _ => false,
            };
        if !is_solved {
            let reason = "its inputs divide this width in different ways";
            self.fix(&a, &refused(node, reason));
            self.fix(&b, &refused(node, reason));
        }
    }

    /// Binds an atom to a term without it; what is known of the atom goes over to the term.
    fn bind(&mut self, atom: usize, term: &Axis) -> bool {
        if self.atoms_of(term).contains(&atom) {
            return false;
        }
        let Atom { hidden, fixed, .. } = self.atoms[atom].clone();
        self.atoms[atom].bound = Some(term.clone());
        if let Some(fixed) = fixed {
            self.fix(term, &fixed);
        }
        if let Some(weight) = hidden {
            self.hide(term, &weight);
        }
        true
    }

    /// Solves an equation of products or of sums part by part, splitting atoms.
    fn zip(&mut self, x: &[Axis], y: &[Axis], is_product: bool, node: &str) -> bool {
        let (mut x, mut y): (Vec<Axis>, Vec<Axis>) = (
            x.iter().rev().cloned().collect(),
            y.iter().rev().cloned().collect(),
        );
        while let (Some(a), Some(b)) = (x.pop(), y.pop()) {
            let (a, b) = (self.resolve(&a), self.resolve(&b));
            let (size_a, size_b) = (self.size(&a), self.size(&b));
            if size_a == size_b {
                self.unify(&a, &b, node);
                continue;
            }
            let (large, small, rest) = if size_a > size_b {
                (&a, &b, &mut x)
            } else {
                (&b, &a, &mut y)
            };
            let (most, least) = (size_a.max(size_b), size_a.min(size_b));
            let Axis::Atom(atom) = large else {
                return false;
            };
            if is_product && (least == 0 || !most.is_multiple_of(least)) {
                return false;
            }
            let other = if is_product {
                most / least
            } else {
                most - least
            };
            let behind = self.atom(other);
            let ahead = self.atom(least);
            let parts = vec![ahead.clone(), behind.clone()];
            let whole = if is_product {
                Axis::Product(parts)
            } else {
                Axis::Sum(parts)
            };
            if !self.bind(*atom, &whole) {
                return false;
            }
            self.unify(&ahead, small, node);
            rest.push(behind);
        }
        x.is_empty() && y.is_empty()
    }

    /// Keeps all atoms within at their sizes.
    pub(super) fn fix(&mut self, axis: &Axis, why: &Fixed) {
        for atom in self.atoms_of(axis) {
            let fixed = &mut self.atoms[atom].fixed;
            // What is seen from outside keeps its size whatever else there is.
            if fixed.is_none() || *why == Fixed::Boundary {
                *fixed = Some(why.clone());
            }
        }
    }

    /// States that a width is one that the network chooses, by the name of a weight: of a product the first part gives way (the heads,
    /// not their width), of a sum each part.
    pub(super) fn hide(&mut self, axis: &Axis, weight: &str) {
        let axis = self.resolve(axis);
        let atoms = self.atoms_of(&axis);
        match &axis {
            Axis::Sum(parts) => parts.iter().for_each(|part| self.hide(part, weight)),
            _ if atoms.iter().any(|&a| self.atoms[a].hidden.is_some()) => {}
            Axis::Product(parts) => {
                let free = parts.iter().find(|part| {
                    let atoms = self.atoms_of(part);
                    self.size(part) > 1 && atoms.iter().all(|&a| self.atoms[a].fixed.is_none())
                });
                if let Some(part) = free.cloned() {
                    self.hide(&part, weight);
                }
            }
            Axis::Atom(atom) => self.atoms[*atom].hidden = Some(weight.to_owned()),
        }
    }

    /// The atoms whose sizes the network chooses and nothing keeps: with their sizes and a weight of each.
    pub(super) fn free(&self) -> impl Iterator<Item = (usize, usize, &str)> {
        self.hidden()
            .filter(|(_, atom, _)| atom.fixed.is_none())
            .map(|(id, atom, weight)| (id, atom.size, weight))
    }

    /// The first atom whose size the network chooses and that a node keeps: the weight, the node and the reason.
    pub(super) fn refused(&self) -> Option<(&str, &str, &str)> {
        self.hidden()
            .find_map(|(_, atom, weight)| match &atom.fixed {
                Some(Fixed::Refused { node, reason }) => {
                    Some((weight, node.as_str(), reason.as_str()))
                }
                _ => None,
            })
    }

    fn hidden(&self) -> impl Iterator<Item = (usize, &Atom, &str)> {
        let unbound = self.atoms.iter().enumerate();
        let unbound = unbound.filter(|(_, atom)| atom.bound.is_none());
        unbound.filter_map(|(id, atom)| Some((id, atom, atom.hidden.as_deref()?)))
    }

    /// Which positions of an axis stay, given those of the atoms that lose some.
    pub(super) fn kept(&self, axis: &Axis, atoms: &HashMap<usize, Vec<usize>>) -> Vec<usize> {
        match self.resolve(axis) {
            Axis::Atom(atom) => match atoms.get(&atom) {
                Some(kept) => kept.clone(),
                None => (0..self.atoms[atom].size).collect(),
            },
            Axis::Product(parts) => parts.iter().fold(vec![0], |ahead, part| {
                let (size, kept) = (self.size(part), self.kept(part, atoms));
                let places = ahead.iter();
                places
                    .flat_map(|at| kept.iter().map(move |k| at * size + k))
                    .collect()
            }),
            Axis::Sum(parts) => {
                let mut start = 0;
                let mut all = Vec::new();
                for part in &parts {
                    all.extend(self.kept(part, atoms).into_iter().map(|k| start + k));
                    start += self.size(part);
                }
                all
            }
        }
    }

    /// For each position of an axis its position in an atom within; none where the axis does not hold it there.
    pub(super) fn positions(&self, axis: &Axis, of: usize) -> Vec<Option<usize>> {
        match self.resolve(axis) {
            Axis::Atom(atom) => (0..self.atoms[atom].size)
                .map(|k| (atom == of).then_some(k))
                .collect(),
            Axis::Product(parts) => parts.iter().fold(vec![None], |ahead, part| {
                let own = self.positions(part, of);
                let places = ahead.iter();
                places
                    .flat_map(|at| own.iter().map(move |k| at.or(*k)))
                    .collect()
            }),
            Axis::Sum(parts) => parts.iter().flat_map(|p| self.positions(p, of)).collect(),
        }
    }
}

/// A size that a node keeps.
pub(super) fn refused(node: &str, reason: impl Into<String>) -> Fixed {
    Fixed::Refused {
        node: node.to_owned(),
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_width_that_is_split_into_heads_loses_heads() {
        let mut axes = Axes::default();
        let (width, heads, each) = (axes.atom(12), axes.atom(3), axes.atom(4));
        axes.hide(&width, "w");
        axes.unify(&width, &Axis::Product(vec![heads, each]), "reshape");
        let free: Vec<_> = axes
            .free()
            .map(|(_, size, weight)| (size, weight))
            .collect();
        assert_eq!(free, [(3, "w")]);
        let (atom, ..) = axes.free().next().unwrap();
        let kept = HashMap::from([(atom, vec![0, 2])]);
        assert_eq!(axes.kept(&width, &kept), [0, 1, 2, 3, 8, 9, 10, 11]);
        assert_eq!(
            axes.positions(&width, atom)[4..9],
            [Some(1), Some(1), Some(1), Some(1), Some(2)]
        );
    }

    #[test]
    fn sums_keep_their_parts_and_products_split_where_they_divide() {
        let mut axes = Axes::default();
        let (a, b, whole) = (axes.atom(2), axes.atom(3), axes.atom(5));
        axes.unify(&whole, &Axis::Sum(vec![a.clone(), b]), "concat");
        axes.hide(&whole, "w");
        assert_eq!(axes.free().map(|f| f.1).collect::<Vec<_>>(), [2, 3]);
        let Axis::Atom(first) = a else {
            panic!("an atom")
        };
        assert_eq!(
            axes.kept(&whole, &HashMap::from([(first, vec![1])])),
            [1, 2, 3, 4]
        );
        // 6 x 4 = 2 x 12: the 6 is 2 x 3.
        let (six, four, two, twelve) = (axes.atom(6), axes.atom(4), axes.atom(2), axes.atom(12));
        let (x, y) = (
            Axis::Product(vec![six.clone(), four]),
            Axis::Product(vec![two, twelve]),
        );
        axes.unify(&x, &y, "reshape");
        assert_eq!(axes.atoms_of(&six).len(), 2);
        assert_eq!(axes.resolve(&x), axes.resolve(&y));
    }

    #[test]
    fn widths_that_divide_in_different_ways_stay() {
        let mut axes = Axes::default();
        let (a, b, c, d) = (axes.atom(2), axes.atom(3), axes.atom(3), axes.atom(2));
        for axis in [&a, &b, &c, &d] {
            axes.hide(axis, "w");
        }
        axes.unify(
            &Axis::Product(vec![a, b]),
            &Axis::Product(vec![c, d]),
            "add",
        );
        assert_eq!(axes.free().count(), 0);
        assert_eq!(axes.refused().unwrap().1, "add");
    }
}
