//! Sequences and optional values.

mod access;
mod concat_from_sequence;
mod optional;
mod optional_get_element;
mod optional_has_element;
mod sequence_at;
mod sequence_construct;
mod sequence_empty;
mod sequence_erase;
mod sequence_insert;
mod sequence_length;
mod sequence_map;
mod split_to_sequence;

pub use concat_from_sequence::ConcatFromSequence;
pub use optional::Optional;
pub use optional_get_element::OptionalGetElement;
pub use optional_has_element::OptionalHasElement;
pub use sequence_at::SequenceAt;
pub use sequence_construct::SequenceConstruct;
pub use sequence_empty::SequenceEmpty;
pub use sequence_erase::SequenceErase;
pub use sequence_insert::SequenceInsert;
pub use sequence_length::SequenceLength;
pub use sequence_map::SequenceMap;
pub use split_to_sequence::SplitToSequence;

use crate::operator::OpEntry;

pub(super) const OPS: &[OpEntry] = &[
    OpEntry::of::<ConcatFromSequence>(),
    OpEntry::of::<Optional>(),
    OpEntry::of::<OptionalGetElement>(),
    OpEntry::of::<OptionalHasElement>(),
    OpEntry::of::<SequenceAt>(),
    OpEntry::of::<SequenceConstruct>(),
    OpEntry::of::<SequenceEmpty>(),
    OpEntry::of::<SequenceErase>(),
    OpEntry::of::<SequenceInsert>(),
    OpEntry::of::<SequenceLength>(),
    OpEntry::of::<SequenceMap>(),
    OpEntry::of::<SplitToSequence>(),
];
