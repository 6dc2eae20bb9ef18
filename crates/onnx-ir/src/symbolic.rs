//! Symbolic dimensions: integers, named symbols and polynomials of them.
//!
//! A dimension is `Unknown`, or a polynomial with integer coefficients over symbols (`batch`) and
//! opaque terms (`floor((h + 2) / 3)`). Two dimensions of the same canonical form are equal for every
//! binding of the symbols; `Unknown` is equal to nothing, not even itself.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Terms beyond which a polynomial is given up as unknown: bounds the work on hostile graphs.
const MAX_TERMS: usize = 64;
/// Nesting of opaque terms beyond which an expression is given up as unknown.
const MAX_DEPTH: usize = 16;
/// Symbols and opaque terms, those within opaque terms counted too, beyond which an expression is given up as unknown.
const MAX_ATOMS: usize = 512;

/// One dimension of a shape, or one integer that is partially known.
#[derive(Clone, Debug)]
pub enum Dim {
    /// A known integer. Negative values occur in shape arithmetic, never in a shape.
    Known(i64),
    /// An expression over symbols that is not a plain integer.
    Symbolic(Arc<Poly>),
    /// Nothing is known.
    Unknown,
}

/// A polynomial in canonical form: monomial (sorted factors) to coefficient, without zeros.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Poly(BTreeMap<Vec<Atom>, i64>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Atom {
    Symbol(Arc<str>),
    FloorDiv(Box<Poly>, Box<Poly>),
    Max(Box<Poly>, Box<Poly>),
    Min(Box<Poly>, Box<Poly>),
}

impl Dim {
    /// A named symbol, such as `batch`.
    pub fn symbol(name: &str) -> Self {
        Self::from_poly(Some(Poly::atom(Atom::Symbol(Arc::from(name)))))
    }

    /// The integer, where it is known.
    pub fn as_known(&self) -> Option<i64> {
        match self {
            Dim::Known(n) => Some(*n),
            _ => None,
        }
    }

    /// The size, where it is known and not negative.
    pub fn as_size(&self) -> Option<usize> {
        self.as_known().and_then(|n| usize::try_from(n).ok())
    }

    /// The symbol's name, where the dimension is one bare symbol.
    pub fn as_symbol(&self) -> Option<&str> {
        let Dim::Symbolic(poly) = self else {
            return None;
        };
        match poly.0.iter().next() {
            Some((monomial, 1)) if poly.0.len() == 1 => match monomial.as_slice() {
                [Atom::Symbol(name)] => Some(name),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether nothing is known.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Dim::Unknown)
    }

    /// Whether it can be told that the value is not negative, given that symbols stand for sizes.
    pub fn is_non_negative(&self) -> bool {
        match self {
            Dim::Known(n) => *n >= 0,
            Dim::Symbolic(poly) => poly.is_non_negative(),
            Dim::Unknown => false,
        }
    }

    /// Whether both are the same for every binding of the symbols.
    pub fn is_same(&self, other: &Dim) -> bool {
        match (self, other) {
            (Dim::Known(a), Dim::Known(b)) => a == b,
            (Dim::Symbolic(a), Dim::Symbolic(b)) => a == b,
            _ => false,
        }
    }

    /// Whether this is `min(whole, k)` for a known `k` of at least 1: what a slice leaves of `whole` elements.
    pub fn is_capped(&self, whole: &Dim) -> bool {
        let (Dim::Symbolic(poly), Some(whole)) = (self, whole.poly()) else {
            return false;
        };
        let is_cap = |p: &Poly| p.as_constant().is_some_and(|k| k >= 1);
        match poly.0.iter().next() {
            Some((monomial, 1)) if poly.0.len() == 1 => match monomial.as_slice() {
                [Atom::Min(a, b)] => (is_cap(a) && **b == whole) || (is_cap(b) && **a == whole),
                _ => false,
            },
            _ => false,
        }
    }

    /// Calls `visit` with the name of every symbol.
    pub fn for_each_symbol(&self, visit: &mut dyn FnMut(&str)) {
        if let Dim::Symbolic(poly) = self {
            poly.for_each_symbol(visit);
        }
    }

    /// Whether both are known integers that differ: a contradiction.
    pub fn contradicts(&self, other: &Dim) -> bool {
        matches!((self, other), (Dim::Known(a), Dim::Known(b)) if a != b)
    }

    /// The better known of two dimensions that must be equal.
    pub fn refine(&self, other: &Dim) -> Dim {
        match (self, other) {
            (Dim::Known(_), _) | (Dim::Symbolic(_), Dim::Unknown | Dim::Symbolic(_)) => {
                self.clone()
            }
            _ => other.clone(),
        }
    }

    /// `floor(self / divisor)`; unknown for a divisor of zero.
    pub fn floor_div(&self, divisor: &Dim) -> Dim {
        if let (Some(a), Some(b)) = (self.as_known(), divisor.as_known()) {
            return match a.checked_div_euclid(b) {
                Some(_) if b < 0 => Dim::Unknown,
                Some(q) => Dim::Known(q),
                None => Dim::Unknown,
            };
        }
        if divisor.as_known() == Some(0) {
            return Dim::Unknown;
        }
        let (Some(a), Some(b)) = (self.poly(), divisor.poly()) else {
            return Dim::Unknown;
        };
        if let Some(q) = a.exact_div(&b) {
            return Self::from_poly(Some(q));
        }
        Self::opaque(a, b, Atom::FloorDiv)
    }

    /// `ceil(self / divisor)` for a positive divisor.
    pub fn ceil_div(&self, divisor: &Dim) -> Dim {
        let exact = self.floor_div(divisor);
        match (self.poly(), divisor.poly()) {
            (Some(a), Some(b)) if a.exact_div(&b).is_some() => exact,
            _ => (self.clone() + divisor.clone() - Dim::Known(1)).floor_div(divisor),
        }
    }

    /// The larger of two.
    pub fn max(&self, other: &Dim) -> Dim {
        match (self, other) {
            (Dim::Known(a), Dim::Known(b)) => Dim::Known(*a.max(b)),
            _ if (self.clone() - other.clone()).is_non_negative() => self.clone(),
            _ if (other.clone() - self.clone()).is_non_negative() => other.clone(),
            _ => match (self.poly(), other.poly()) {
                (Some(a), Some(b)) => Self::ordered(a, b, Atom::Max),
                _ => Dim::Unknown,
            },
        }
    }

    /// The smaller of two.
    pub fn min(&self, other: &Dim) -> Dim {
        match (self, other) {
            (Dim::Known(a), Dim::Known(b)) => Dim::Known(*a.min(b)),
            _ if (self.clone() - other.clone()).is_non_negative() => other.clone(),
            _ if (other.clone() - self.clone()).is_non_negative() => self.clone(),
            _ => match (self.poly(), other.poly()) {
                (Some(a), Some(b)) => Self::ordered(a, b, Atom::Min),
                _ => Dim::Unknown,
            },
        }
    }

    /// The value under a binding of the symbols; `None` where a symbol is unbound, a division is by
    /// zero or the arithmetic overflows.
    pub fn eval(&self, binding: &dyn Fn(&str) -> Option<i64>) -> Option<i64> {
        match self {
            Dim::Known(n) => Some(*n),
            Dim::Symbolic(poly) => poly.eval(binding),
            Dim::Unknown => None,
        }
    }

    fn poly(&self) -> Option<Poly> {
        match self {
            Dim::Known(n) => Some(Poly::constant(*n)),
            Dim::Symbolic(poly) => Some(poly.as_ref().clone()),
            Dim::Unknown => None,
        }
    }

    fn from_poly(poly: Option<Poly>) -> Self {
        match poly {
            None => Dim::Unknown,
            Some(poly) => match poly.as_constant() {
                Some(n) => Dim::Known(n),
                None if poly.0.len() > MAX_TERMS || poly.atoms() > MAX_ATOMS => Dim::Unknown,
                None => Dim::Symbolic(Arc::new(poly)),
            },
        }
    }

    fn opaque(a: Poly, b: Poly, make: fn(Box<Poly>, Box<Poly>) -> Atom) -> Dim {
        if a.depth().max(b.depth()) >= MAX_DEPTH || a.atoms() + b.atoms() >= MAX_ATOMS {
            return Dim::Unknown;
        }
        Self::from_poly(Some(Poly::atom(make(Box::new(a), Box::new(b)))))
    }

    fn ordered(a: Poly, b: Poly, make: fn(Box<Poly>, Box<Poly>) -> Atom) -> Dim {
        if a <= b {
            Self::opaque(a, b, make)
        } else {
            Self::opaque(b, a, make)
        }
    }
}

impl Poly {
    fn constant(n: i64) -> Self {
        let mut terms = BTreeMap::new();
        if n != 0 {
            terms.insert(Vec::new(), n);
        }
        Poly(terms)
    }

    fn atom(atom: Atom) -> Self {
        Poly(BTreeMap::from([(vec![atom], 1)]))
    }

    fn as_constant(&self) -> Option<i64> {
        match self.0.len() {
            0 => Some(0),
            1 => self.0.get(&Vec::new() as &Vec<Atom>).copied(),
            _ => None,
        }
    }

    fn checked_add(&self, other: &Poly) -> Option<Poly> {
        let mut terms = self.0.clone();
        for (monomial, c) in &other.0 {
            let sum = terms.get(monomial).copied().unwrap_or(0).checked_add(*c)?;
            if sum == 0 {
                terms.remove(monomial);
            } else {
                terms.insert(monomial.clone(), sum);
            }
        }
        Some(Poly(terms))
    }

    fn checked_mul(&self, other: &Poly) -> Option<Poly> {
        let (terms, others) = (self.0.len(), other.0.len());
        let atoms = terms * other.atoms() + others * self.atoms();
        if terms.checked_mul(others)? > MAX_TERMS || atoms > MAX_TERMS * MAX_ATOMS {
            return None;
        }
        let mut product = Poly(BTreeMap::new());
        for (m1, c1) in &self.0 {
            for (m2, c2) in &other.0 {
                let mut monomial = [m1.as_slice(), m2.as_slice()].concat();
                if monomial.len() > MAX_TERMS {
                    return None;
                }
                monomial.sort();
                let term = Poly(BTreeMap::from([(monomial, c1.checked_mul(*c2)?)]));
                product = product.checked_add(&term)?;
            }
        }
        Some(product)
    }

    /// `self / divisor` where the divisor is one monomial that divides each term without rest.
    fn exact_div(&self, divisor: &Poly) -> Option<Poly> {
        let (dm, dc) = divisor.0.iter().next().filter(|_| divisor.0.len() == 1)?;
        let mut terms = BTreeMap::new();
        for (monomial, c) in &self.0 {
            if c.checked_rem(*dc)? != 0 {
                return None;
            }
            let mut rest = monomial.clone();
            for factor in dm {
                let at = rest.iter().position(|f| f == factor)?;
                rest.remove(at);
            }
            terms.insert(rest, c.checked_div(*dc)?);
        }
        Some(Poly(terms))
    }

    fn is_non_negative(&self) -> bool {
        let atom = |atom: &Atom| match atom {
            Atom::Symbol(_) => true,
            Atom::FloorDiv(a, b) | Atom::Min(a, b) => a.is_non_negative() && b.is_non_negative(),
            Atom::Max(a, b) => a.is_non_negative() || b.is_non_negative(),
        };
        self.0.iter().all(|(m, &c)| c >= 0 && m.iter().all(atom))
    }

    fn for_each_symbol(&self, visit: &mut dyn FnMut(&str)) {
        for atom in self.0.keys().flatten() {
            match atom {
                Atom::Symbol(name) => visit(name),
                Atom::FloorDiv(a, b) | Atom::Max(a, b) | Atom::Min(a, b) => {
                    a.for_each_symbol(visit);
                    b.for_each_symbol(visit);
                }
            }
        }
    }

    /// Symbols and opaque terms of all levels.
    fn atoms(&self) -> usize {
        let atoms = self.0.keys().flatten();
        atoms
            .map(|atom| match atom {
                Atom::Symbol(_) => 1,
                Atom::FloorDiv(a, b) | Atom::Max(a, b) | Atom::Min(a, b) => {
                    1 + a.atoms() + b.atoms()
                }
            })
            .sum()
    }

    fn depth(&self) -> usize {
        let atoms = self.0.keys().flatten();
        atoms
            .map(|atom| match atom {
                Atom::Symbol(_) => 0,
                Atom::FloorDiv(a, b) | Atom::Max(a, b) | Atom::Min(a, b) => {
                    1 + a.depth().max(b.depth())
                }
            })
            .max()
            .unwrap_or(0)
    }

    fn eval(&self, binding: &dyn Fn(&str) -> Option<i64>) -> Option<i64> {
        let mut sum = 0i64;
        for (monomial, c) in &self.0 {
            let mut product = *c;
            for atom in monomial {
                let value = match atom {
                    Atom::Symbol(name) => binding(name)?,
                    Atom::FloorDiv(a, b) => {
                        let (a, b) = (a.eval(binding)?, b.eval(binding)?);
                        if b <= 0 {
                            return None;
                        }
                        a.checked_div_euclid(b)?
                    }
                    Atom::Max(a, b) => a.eval(binding)?.max(b.eval(binding)?),
                    Atom::Min(a, b) => a.eval(binding)?.min(b.eval(binding)?),
                };
                product = product.checked_mul(value)?;
            }
            sum = sum.checked_add(product)?;
        }
        Some(sum)
    }
}

impl From<i64> for Dim {
    fn from(n: i64) -> Self {
        Dim::Known(n)
    }
}

impl From<usize> for Dim {
    fn from(n: usize) -> Self {
        i64::try_from(n).map_or(Dim::Unknown, Dim::Known)
    }
}

macro_rules! arithmetic {
    ($trait:ident, $method:ident, |$a:ident, $b:ident| $poly:expr) => {
        impl std::ops::$trait for Dim {
            type Output = Dim;
            /// Unknown where an operand is unknown or the arithmetic overflows.
            fn $method(self, other: Dim) -> Dim {
                let (Some($a), Some($b)) = (self.poly(), other.poly()) else {
                    return Dim::Unknown;
                };
                Dim::from_poly($poly)
            }
        }
    };
}

arithmetic!(Add, add, |a, b| a.checked_add(&b));
arithmetic!(Sub, sub, |a, b| b
    .checked_mul(&Poly::constant(-1))
    .and_then(|b| a.checked_add(&b)));
arithmetic!(Mul, mul, |a, b| a.checked_mul(&b));

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Known(n) => write!(f, "{n}"),
            Dim::Symbolic(poly) => write!(f, "{poly}"),
            Dim::Unknown => f.write_str("?"),
        }
    }
}

impl fmt::Display for Poly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("0");
        }
        // Constants last: `batch + 1`, not `1 + batch`.
        let ordered = self.0.iter().filter(|(m, _)| !m.is_empty());
        for (i, (monomial, c)) in ordered
            .chain(self.0.iter().filter(|(m, _)| m.is_empty()))
            .enumerate()
        {
            match (i, *c < 0) {
                (0, false) => {}
                (0, true) => f.write_str("-")?,
                (_, false) => f.write_str(" + ")?,
                (_, true) => f.write_str(" - ")?,
            }
            let size = c.unsigned_abs();
            if monomial.is_empty() || size != 1 {
                write!(f, "{size}")?;
                if !monomial.is_empty() {
                    f.write_str("*")?;
                }
            }
            for (j, atom) in monomial.iter().enumerate() {
                if j > 0 {
                    f.write_str("*")?;
                }
                match atom {
                    Atom::Symbol(name) => f.write_str(name)?,
                    Atom::FloorDiv(a, b) => write!(f, "floor(({a})/({b}))")?,
                    Atom::Max(a, b) => write!(f, "max({a}, {b})")?,
                    Atom::Min(a, b) => write!(f, "min({a}, {b})")?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(name: &str) -> Dim {
        Dim::symbol(name)
    }
    fn k(n: i64) -> Dim {
        Dim::Known(n)
    }

    #[test]
    fn sums_and_products_are_canonical() {
        let a = (s("batch") + k(1)) * s("seq");
        let b = s("seq") + s("seq") * s("batch");
        assert!(a.is_same(&b));
        assert_eq!(a.to_string(), "batch*seq + seq");
        assert_eq!((s("batch") - s("batch")).as_known(), Some(0));
    }

    #[test]
    fn exact_division_cancels_and_the_rest_stays_opaque() {
        let total = s("batch") * s("seq") * k(384);
        assert!(
            total
                .floor_div(&(s("seq") * k(32)))
                .is_same(&(s("batch") * k(12)))
        );
        let odd = (s("h") + k(1)).floor_div(&k(2));
        assert_eq!(odd.to_string(), "floor((h + 1)/(2))");
        assert_eq!(odd.eval(&|_| Some(224)), Some(112));
    }

    #[test]
    fn overflow_and_division_by_zero_are_unknown() {
        assert!((k(i64::MAX) + k(1)).is_unknown());
        assert!((k(i64::MAX) * s("n") * k(2)).is_unknown());
        assert!(s("n").floor_div(&k(0)).is_unknown());
        assert!(!Dim::Unknown.is_same(&Dim::Unknown));
    }

    #[test]
    fn signs_are_told_only_where_they_hold_for_every_size() {
        assert!((s("n") * k(3) + k(1)).is_non_negative());
        assert!(!(s("n") - k(1)).is_non_negative());
        assert!((s("n") - k(1)).max(&k(0)).is_non_negative());
        assert!(!Dim::Unknown.is_non_negative());
    }

    #[test]
    fn the_larger_and_smaller_are_told_where_they_are_for_every_size() {
        assert_eq!((s("n") + k(1)).min(&s("n")).to_string(), "n");
        assert_eq!(s("n").max(&(s("n") + s("m"))).to_string(), "m + n");
        assert_eq!(s("n").max(&k(-1)).to_string(), "n");
        assert_eq!(s("n").min(&s("m")).to_string(), "min(m, n)");
        assert!(s("n").min(&k(512)).is_capped(&s("n")));
        assert!(!s("n").min(&k(512)).is_capped(&s("m")));
        assert!(!s("n").min(&s("m")).is_capped(&s("n")));
    }

    #[test]
    fn bare_symbols_are_recognised() {
        assert_eq!(s("batch").as_symbol(), Some("batch"));
        assert_eq!((s("batch") * k(2)).as_symbol(), None);
    }
}
