//! Strings: joining, splitting, normalising, matching, counting n-grams.

mod regex_full_match;
mod string_concat;
mod string_normalizer;
mod string_split;
mod tf_idf_vectorizer;

pub use regex_full_match::RegexFullMatch;
pub use string_concat::StringConcat;
pub use string_normalizer::{CaseChange, StringNormalizer};
pub use string_split::StringSplit;
pub use tf_idf_vectorizer::{Item, TfIdfVectorizer, Weighting};

use crate::operator::OpEntry;

pub(super) const OPS: &[OpEntry] = &[
    OpEntry::of::<RegexFullMatch>(),
    OpEntry::of::<StringConcat>(),
    OpEntry::of::<StringNormalizer>(),
    OpEntry::of::<StringSplit>(),
    OpEntry::of::<TfIdfVectorizer>(),
];
