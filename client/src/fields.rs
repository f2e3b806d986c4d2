//! Structs as hashes: a field of the struct is a field of the hash.
//!
//! Text, numbers, truth values and the names of enum variants are written as they are, so that
//! HINCRBY and other people's clients can work with them; what has parts is written as JSON.

use bytes::Bytes;
use dht_proto::Reply;
use serde::de::value::MapDeserializer;
use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::{Serialize, forward_to_deserialize_any};
use serde_json::Value;

use crate::client::Client;
use crate::command::Arg;
use crate::error::{Error, Result};
use crate::value::FromReply;

impl Client {
    /// HSET of all fields of a struct, or of all entries of a map whose keys are text. A field that
    /// is `None` is removed by an HDEL right behind it. Returns how many fields are new.
    ///
    /// ```no_run
    /// # async fn example(client: dht_client::Client) -> dht_client::Result<()> {
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct User {
    ///     name: String,
    ///     age: u32,
    ///     city: Option<String>,
    /// }
    ///
    /// let alice = User { name: "Alice".into(), age: 25, city: None };
    /// client.hset_struct("user:1", &alice).await?;
    /// client.hincrby("user:1", "age", 1).await?;
    /// let alice: Option<User> = client.hget_struct("user:1").await?;
    /// assert_eq!(alice.map(|user| user.age), Some(26));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] when the value is no such thing; then nothing was sent. Otherwise as the
    /// two commands.
    pub async fn hset_struct(&self, key: impl Arg, value: &impl Serialize) -> Result<u64> {
        let (present, absent) = to_fields(value)?;
        let mut pipeline = self.pipeline();
        if !present.is_empty() {
            pipeline = pipeline.hset(&key, &present);
        }
        if !absent.is_empty() {
            pipeline = pipeline.hdel(&key, &absent);
        }
        let results = pipeline.send().await;
        let replies = results.into_iter().collect::<Result<Vec<Reply>>>()?;
        match replies.into_iter().next() {
            Some(count) if !present.is_empty() => u64::from_reply(count),
            _ => Ok(0),
        }
    }

    /// HGETALL into a struct, or into a map; nothing where there is no such key. Fields that the
    /// struct does not name are passed over, those that it lacks have to be optional or to have a
    /// default.
    ///
    /// # Errors
    /// [`Error::Shape`] when the fields make no such value. Otherwise any of [`Error`].
    pub async fn hget_struct<T: DeserializeOwned>(&self, key: impl Arg) -> Result<Option<T>> {
        let fields = self.hgetall(key).await?;
        if fields.is_empty() {
            return Ok(None);
        }
        from_fields(fields).map(Some)
    }
}

/// The fields that there are, and those that there are not.
type Fields = (Vec<(String, Vec<u8>)>, Vec<String>);

fn to_fields(value: &impl Serialize) -> Result<Fields> {
    let value = serde_json::to_value(value).map_err(|error| Error::Shape(error.to_string()))?;
    let Value::Object(members) = value else {
        let why = "only structs and maps can be written as the fields of a hash";
        return Err(Error::Shape(why.to_owned()));
    };
    let mut fields = Fields::default();
    for (name, value) in members {
        match value {
            Value::Null => fields.1.push(name),
            Value::String(text) => fields.0.push((name, text.into_bytes())),
            other => fields.0.push((name, other.to_string().into_bytes())),
        }
    }
    Ok(fields)
}

fn from_fields<T: DeserializeOwned>(fields: Vec<(Bytes, Bytes)>) -> Result<T> {
    let named = fields.into_iter().map(|(name, value)| {
        let name = String::from_utf8_lossy(&name).into_owned();
        (name, Field(value))
    });
    T::deserialize(MapDeserializer::new(named)).map_err(|error: Shapeless| Error::Shape(error.0))
}

/// The value of a field. What it is depends on what is wanted.
struct Field(Bytes);

/// Why the fields make no such value.
#[derive(Debug)]
struct Shapeless(String);

impl std::fmt::Display for Shapeless {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Shapeless {}

impl serde::de::Error for Shapeless {
    fn custom<T: std::fmt::Display>(why: T) -> Self {
        Self(why.to_string())
    }
}

impl IntoDeserializer<'_, Shapeless> for Field {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl Field {
    fn text(self) -> std::result::Result<String, Shapeless> {
        let bytes = self.0.into();
        String::from_utf8(bytes).map_err(|_| Shapeless("a value is not UTF-8".to_owned()))
    }

    fn json<T: DeserializeOwned>(&self) -> std::result::Result<T, Shapeless> {
        serde_json::from_slice(&self.0).map_err(|error| Shapeless(error.to_string()))
    }
}

/// Numbers and truth values are JSON as they are.
macro_rules! scalars {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(
            self,
            visitor: V,
        ) -> std::result::Result<V::Value, Shapeless> {
            let value: Value = self.json()?;
            value.$method(visitor).map_err(|error| Shapeless(error.to_string()))
        })*
    };
}

impl<'de> Deserializer<'de> for Field {
    type Error = Shapeless;

    scalars! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32
        deserialize_f64 deserialize_seq deserialize_map deserialize_bytes deserialize_byte_buf
    }

    fn deserialize_any<V: Visitor<'de>>(
        self,
        visitor: V,
    ) -> std::result::Result<V::Value, Shapeless> {
        visitor.visit_string(self.text()?)
    }

    fn deserialize_option<V: Visitor<'de>>(
        self,
        visitor: V,
    ) -> std::result::Result<V::Value, Shapeless> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> std::result::Result<V::Value, Shapeless> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> std::result::Result<V::Value, Shapeless> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> std::result::Result<V::Value, Shapeless> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> std::result::Result<V::Value, Shapeless> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> std::result::Result<V::Value, Shapeless> {
        let value = match self.0.first() {
            Some(b'{') => self.json()?,
            _ => Value::String(self.text()?),
        };
        let shapeless = |error: serde_json::Error| Shapeless(error.to_string());
        value
            .deserialize_enum(name, variants, visitor)
            .map_err(shapeless)
    }

    forward_to_deserialize_any! {
        i128 u128 char str string unit unit_struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
    enum Role {
        Admin,
        Guest(u8),
    }

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Id(u64);

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct User {
        id: Id,
        name: String,
        code: String,
        age: Option<u8>,
        score: f64,
        admin: bool,
        role: Role,
        tags: Vec<String>,
        home: (i32, i32),
        extra: BTreeMap<String, i64>,
    }

    fn user(role: Role, age: Option<u8>) -> User {
        User {
            id: Id(7),
            name: "Alice \u{e4}".to_owned(),
            code: "0042".to_owned(),
            age,
            score: -0.5,
            admin: true,
            role,
            tags: vec!["a".to_owned(), "b,c".to_owned()],
            home: (1, -2),
            extra: [("x".to_owned(), 1)].into(),
        }
    }

    fn read<T: DeserializeOwned>(fields: &[(&str, &str)]) -> Result<T> {
        let owned = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        from_fields(fields.iter().map(|(k, v)| (owned(k), owned(v))).collect())
    }

    #[test]
    fn a_struct_comes_back_as_it_was() {
        for user in [user(Role::Admin, Some(25)), user(Role::Guest(3), None)] {
            let (present, absent) = to_fields(&user).unwrap();
            assert_eq!(absent.len(), usize::from(user.age.is_none()));
            let fields = present.into_iter().map(|(k, v)| (k.into(), v.into()));
            assert_eq!(from_fields::<User>(fields.collect()).unwrap(), user);
        }
    }

    #[test]
    fn others_can_read_what_is_written() {
        let (fields, _) = to_fields(&user(Role::Admin, Some(25))).unwrap();
        let check = |name: &str, expect: &str| {
            let found = fields.iter().find(|(field, _)| field == name).unwrap();
            assert_eq!(str::from_utf8(&found.1), Ok(expect), "{name}");
        };
        check("id", "7");
        check("code", "0042");
        check("age", "25");
        check("score", "-0.5");
        check("admin", "true");
        check("role", "Admin");
        check("tags", r#"["a","b,c"]"#);
    }

    #[test]
    fn what_does_not_fit_is_told() {
        #[derive(Debug, Deserialize)]
        struct Aged {
            #[expect(dead_code, reason = "only read")]
            age: u8,
        }
        for fields in [
            &[("age", "x")][..],
            &[("age", "256")],
            &[("age", "\"25\"")],
            &[("name", "Alice")],
        ] {
            let error = read::<Aged>(fields).unwrap_err();
            assert!(matches!(error, Error::Shape(_)), "{fields:?}: {error:?}");
        }
        assert!(read::<Aged>(&[("age", "25"), ("more", "x")]).is_ok());
        assert!(matches!(to_fields(&7), Err(Error::Shape(_))));
        let map: BTreeMap<String, String> = read(&[("a", "1"), ("b", "x y")]).unwrap();
        assert_eq!(map["b"], "x y");
    }
}
