//! Fields that newer versions of ONNX may have added: kept and written back, with numbers and lengths in their
//! shortest form.
//!
//! The code that `prost` derives skips a field that it does not know. Here the derived code becomes the trait
//! [`Fields`], by way of `prost`'s setting for its own path, and each message's [`prost::Message`] sends what is no
//! field of it to its [`Unknown`], which is written behind the others.

use prost::bytes::{Buf, BufMut, Bytes};
use prost::encoding::wire_type::WireType;
use prost::encoding::{self, DecodeContext, decode_key, encode_key};
use prost::{DecodeError, Message};

/// The encoded fields of a message that its definition does not have.
///
/// It is a `oneof` to the derived code, as one is encoded without a frame of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Unknown(Vec<u8>);

impl Unknown {
    /// The fields: keys and values of the file, numbers and lengths in their shortest form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Takes in one field whose key was just read.
    ///
    /// # Errors
    /// [`DecodeError`] for a field that is cut short, or a group that is not closed.
    pub fn merge(
        kept: &mut Option<Self>,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        // The decoder's own words for an end that ends nothing.
        if wire_type == WireType::EndGroup {
            return encoding::skip_field(wire_type, tag, buf, ctx);
        }
        let out = &mut kept.get_or_insert_default().0;
        copy_field(tag, wire_type, buf, &ctx, out)?;
        // A group nests without messages: a list of those that are open takes the place of calls.
        let mut open = Vec::from_iter((wire_type == WireType::StartGroup).then_some(tag));
        while let Some(&innermost) = open.last() {
            let (tag, wire_type) = decode_key(buf)?;
            match wire_type {
                WireType::EndGroup if tag == innermost => drop(open.pop()),
                WireType::EndGroup => return encoding::skip_field(wire_type, tag, buf, ctx),
                WireType::StartGroup => open.push(tag),
                _ => {}
            }
            copy_field(tag, wire_type, buf, &ctx, out)?;
        }
        Ok(())
    }

    /// Writes the fields.
    pub fn encode(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    /// Bytes that the fields take.
    pub fn encoded_len(&self) -> usize {
        self.0.len()
    }
}

/// Copies key and value; of a group, the key alone.
fn copy_field(
    tag: u32,
    wire_type: WireType,
    buf: &mut impl Buf,
    ctx: &DecodeContext,
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    match wire_type {
        WireType::Varint => {
            let mut value = 0;
            encoding::uint64::merge(wire_type, &mut value, buf, ctx.clone())?;
            encoding::uint64::encode(tag, &value, out);
        }
        WireType::SixtyFourBit => {
            let mut value = 0;
            encoding::fixed64::merge(wire_type, &mut value, buf, ctx.clone())?;
            encoding::fixed64::encode(tag, &value, out);
        }
        WireType::ThirtyTwoBit => {
            let mut value = 0;
            encoding::fixed32::merge(wire_type, &mut value, buf, ctx.clone())?;
            encoding::fixed32::encode(tag, &value, out);
        }
        WireType::LengthDelimited => {
            let mut value = Bytes::new();
            encoding::bytes::merge(wire_type, &mut value, buf, ctx.clone())?;
            encoding::bytes::encode(tag, &value, out);
        }
        WireType::StartGroup | WireType::EndGroup => encode_key(tag, wire_type, out),
    }
    Ok(())
}

/// What `prost` derives for a message: its known fields. [`prost::Message`] documents the methods.
#[allow(
    missing_docs,
    reason = "the methods of prost::Message under their own names"
)]
pub trait Fields: Message {
    fn encode_raw(&self, buf: &mut impl BufMut);
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError>;
    fn encoded_len(&self) -> usize;
    fn clear(&mut self);
}

/// `prost` as the derived code sees it: its trait is [`Fields`], all else is the same.
pub mod derived {
    pub use super::Fields as Message;
    pub use prost::{DecodeError, Oneof, UnknownEnumValue, alloc, bytes, encoding};
}

/// Implements [`prost::Message`] for a message with the fields of these numbers and `unknown`.
macro_rules! message {
    ($message:ty: $($known:literal)*) => {
        impl ::prost::Message for $message {
            fn encode_raw(&self, buf: &mut impl ::prost::bytes::BufMut) {
                $crate::proto::unknown::Fields::encode_raw(self, buf);
            }

            fn merge_field(
                &mut self,
                tag: u32,
                wire_type: ::prost::encoding::wire_type::WireType,
                buf: &mut impl ::prost::bytes::Buf,
                ctx: ::prost::encoding::DecodeContext,
            ) -> Result<(), ::prost::DecodeError> {
                use $crate::proto::unknown::{Fields, Unknown};
                if [$($known),*].contains(&tag) {
                    Fields::merge_field(self, tag, wire_type, buf, ctx)
                } else {
                    Unknown::merge(&mut self.unknown, tag, wire_type, buf, ctx)
                }
            }

            fn encoded_len(&self) -> usize {
                $crate::proto::unknown::Fields::encoded_len(self)
            }

            fn clear(&mut self) {
                $crate::proto::unknown::Fields::clear(self);
            }
        }
    };
}
pub(crate) use message;

#[cfg(test)]
mod tests {
    use crate::proto::{DecodeError, Message, NodeProto};
    use prost::bytes::Bytes;

    /// Field 1000 in every wire form, and the operator's name.
    const FIELDS: &[u8] = b"\
        \xc0\x3e\x96\x01\
        \xc1\x3e\x01\x02\x03\x04\x05\x06\x07\x08\
        \xc2\x3e\x03abc\
        \xc3\x3e\x0a\x02hi\x13\x14\xc4\x3e\
        \xc5\x3e\x01\x02\x03\x04";

    fn decode(bytes: &[u8]) -> Result<NodeProto, DecodeError> {
        NodeProto::decode(Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn fields_of_every_wire_form_are_kept_and_written_behind_the_known_ones() {
        let known = b"\x22\x04Relu";
        let node = decode(&[FIELDS, known].concat()).expect("well formed");
        assert_eq!(node.op_type(), "Relu");
        assert_eq!(node.unknown.as_ref().map(|u| u.as_bytes()), Some(FIELDS));
        assert_eq!(node.encoded_len(), FIELDS.len() + known.len());
        assert_eq!(node.encode_to_vec(), [known, FIELDS].concat());
    }

    #[test]
    fn a_message_without_them_holds_none() {
        assert_eq!(decode(b"\x22\x04Relu").expect("well formed").unknown, None);
    }

    #[test]
    fn cut_short_or_badly_closed_fields_are_errors() {
        for end in 1..4 {
            decode(&FIELDS[..end]).expect_err("a number that is cut short");
        }
        decode(b"\xc2\x3e\x7fabc").expect_err("127 bytes of which 3 are there");
        decode(b"\xc3\x3e\x0a\x02hi").expect_err("a group that is not closed");
        decode(b"\xc3\x3e\xcc\x3e").expect_err("a group that is closed with another number");
        decode(b"\xc4\x3e").expect_err("an end without a group");
    }

    #[test]
    fn many_nested_groups_do_not_exhaust_the_stack() {
        let open = [0xc3, 0x3e].repeat(100_000);
        let close = [0xc4, 0x3e].repeat(100_000);
        let node = decode(&[open, close].concat()).expect("well formed");
        assert_eq!(node.encoded_len(), 400_000);
    }
}
