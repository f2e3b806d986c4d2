//! Looks through a value for what JSON cannot hold: numbers that are none, or are infinite. In JSON
//! they would become `null`, as if there were no value.

use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant,
};
use serde::{Serialize, Serializer};

use crate::error::{Error, Result};

/// Refuses a value that has such a number in it.
///
/// # Errors
/// [`Error::Shape`].
pub fn check(value: &(impl Serialize + ?Sized)) -> Result<()> {
    value.serialize(Finite).map_err(|why| Error::Shape(why.0))
}

/// What looks; it has nothing to keep.
struct Finite;

/// Why a value cannot be written.
#[derive(Debug)]
struct Refused(String);

type Looked = std::result::Result<(), Refused>;

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl serde::ser::Error for Refused {
    fn custom<T: std::fmt::Display>(why: T) -> Self {
        Self(why.to_string())
    }
}

/// What has no number with a fraction in it.
macro_rules! fine {
    ($($method:ident($type:ty))*) => {
        $(fn $method(self, _: $type) -> Looked {
            Ok(())
        })*
    };
}

impl Serializer for Finite {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    fine! {
        serialize_bool(bool) serialize_i8(i8) serialize_i16(i16) serialize_i32(i32)
        serialize_i64(i64) serialize_i128(i128) serialize_u8(u8) serialize_u16(u16)
        serialize_u32(u32) serialize_u64(u64) serialize_u128(u128) serialize_char(char)
        serialize_str(&str) serialize_bytes(&[u8]) serialize_unit_struct(&'static str)
    }

    fn serialize_f32(self, number: f32) -> Looked {
        self.serialize_f64(number.into())
    }

    fn serialize_f64(self, number: f64) -> Looked {
        match number.is_finite() {
            true => Ok(()),
            false => Err(Refused(format!("{number} is no number that JSON can hold"))),
        }
    }

    fn serialize_none(self) -> Looked {
        Ok(())
    }

    fn serialize_unit(self) -> Looked {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Looked {
        value.serialize(self)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Looked {
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Looked {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Looked {
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> std::result::Result<Self, Refused> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> std::result::Result<Self, Refused> {
        Ok(self)
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> std::result::Result<Self, Refused> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> std::result::Result<Self, Refused> {
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> std::result::Result<Self, Refused> {
        Ok(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> std::result::Result<Self, Refused> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> std::result::Result<Self, Refused> {
        Ok(self)
    }
}

/// What has parts: each is looked at.
macro_rules! parts {
    ($($trait:ident $method:ident($($name:ty)?))*) => {
        $(impl $trait for Finite {
            type Ok = ();
            type Error = Refused;

            fn $method<T: Serialize + ?Sized>(&mut self, $(_: $name,)? value: &T) -> Looked {
                value.serialize(Finite)
            }

            fn end(self) -> Looked {
                Ok(())
            }
        })*
    };
}

parts! {
    SerializeSeq serialize_element()
    SerializeTuple serialize_element()
    SerializeTupleStruct serialize_field()
    SerializeTupleVariant serialize_field()
    SerializeStruct serialize_field(&'static str)
    SerializeStructVariant serialize_field(&'static str)
}

impl SerializeMap for Finite {
    type Ok = ();
    type Error = Refused;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Looked {
        key.serialize(Self)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Looked {
        value.serialize(Self)
    }

    fn end(self) -> Looked {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Serialize)]
    enum Number {
        Of(f64),
        In { number: f32 },
        Both(f64, f64),
        None,
    }

    #[derive(Serialize)]
    struct Pair(f64, Option<f64>);

    #[test]
    fn a_number_that_is_none_is_found_wherever_it_is() {
        fn is_fine(value: &impl Serialize) -> bool {
            check(value).is_ok()
        }
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(!is_fine(&number));
            assert!(!is_fine(&vec![0.0, number]));
            assert!(!is_fine(
                &[("k", number)].into_iter().collect::<BTreeMap<_, _>>()
            ));
            assert!(!is_fine(&Number::Of(number)));
            assert!(!is_fine(&Number::In {
                number: number as f32
            }));
            assert!(!is_fine(&Number::Both(0.0, number)));
            assert!(!is_fine(&Pair(0.0, Some(number))));
            assert!(!is_fine(&((0, number), "text")));
        }
        assert!(is_fine(&Pair(f64::MAX, None)));
        assert!(is_fine(&(
            Number::None,
            Number::Of(-0.0),
            'c',
            "text",
            i128::MAX
        )));
    }
}
