//! Structs as hashes: a field of the struct is a field of the hash.
//!
//! Text, numbers, truth values and the names of enum variants are written as they are, so that
//! HINCRBY and other people's clients can work with them; what has parts is written as JSON.
//!
//! So a hash does not say whether `25` was a number or text: the type that is read does. Where
//! serde does not tell it, as in what is flattened, untagged or internally tagged, all readings are
//! tried, numbers first, until one makes a value.

use std::cell::Cell;

use bytes::Bytes;
use dht_proto::Reply;
use serde::de::value::MapDeserializer;
use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::{Serialize, forward_to_deserialize_any};
use serde_json::Value;

use crate::client::Client;
use crate::command::Arg;
use crate::error::{Error, Result};
use crate::finite;
use crate::value::FromReply;

impl Client {
    /// HSET of all fields of a struct, or of all entries of a map whose keys are text. A field that
    /// is `None` is removed by HDEL, in one transaction with it. Returns how many fields are new.
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
    /// [`Error::Shape`] when the value is no such thing, or has in it a number that is none or
    /// infinite, or an integer of more than 64 bits; then nothing was sent. Otherwise as the two
    /// commands.
    pub async fn hset_struct(&self, key: impl Arg, value: &impl Serialize) -> Result<u64> {
        let (present, absent) = to_fields(value)?;
        let mut pipeline = self.pipeline();
        if !present.is_empty() {
            pipeline = pipeline.hset(&key, &present);
        }
        if !absent.is_empty() {
            pipeline = pipeline.hdel(&key, &absent);
        }
        let replies = match present.is_empty() || absent.is_empty() {
            true => pipeline.send().await.into_iter().collect::<Result<_>>()?,
            false => pipeline.exec().await?,
        };
        // In a transaction an error is an answer as well.
        let refused = |reply: Reply| match reply {
            Reply::Error(error) => Err(Error::Reply(error)),
            reply => Ok(reply),
        };
        let replies = replies.into_iter().map(refused);
        match replies.collect::<Result<Vec<Reply>>>()?.into_iter().next() {
            Some(count) if !present.is_empty() => u64::from_reply(count),
            _ => Ok(0),
        }
    }

    /// HGETALL into a struct, or into a map; nothing where there is no such key. Fields that the
    /// struct does not name are passed over, those that it lacks have to be optional or to have a
    /// default.
    ///
    /// What is `#[serde(flatten)]`, `untagged` or internally tagged says of none of its fields
    /// which type it wants. What looks like a number or a truth value is read as one there, if that
    /// makes a value, or else as text: of up to eight such fields each way is tried. So an untagged
    /// enum with a number and a text reads the text `25` as the number.
    ///
    /// # Errors
    /// [`Error::Shape`] when the fields make no such value. Otherwise any of [`Error`].
    pub async fn hget_struct<T: DeserializeOwned>(&self, key: impl Arg) -> Result<Option<T>> {
        let fields = self.hgetall(key).await?;
        if fields.is_empty() {
            return Ok(None);
        }
        from_fields(&fields).map(Some)
    }
}

/// The fields that there are, and those that there are not.
type Fields = (Vec<(String, Vec<u8>)>, Vec<String>);

fn to_fields(value: &impl Serialize) -> Result<Fields> {
    finite::check(value)?;
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

fn from_fields<T: DeserializeOwned>(fields: &[(Bytes, Bytes)]) -> Result<T> {
    let asked = Cell::new(0);
    let read = |as_text: u32| {
        asked.set(0);
        let named = fields.iter().map(|(name, value)| {
            let name = String::from_utf8_lossy(name).into_owned();
            let guess = Guess {
                as_text,
                asked: &asked,
            };
            (name, Field(value.clone(), guess))
        });
        T::deserialize(MapDeserializer::new(named))
    };
    let mut found = read(0);
    let mut way = 1;
    // Who stops at the first field that does not fit has not asked about those behind it.
    let mut most = asked.get();
    while found.is_err() && way < 1 << most.min(GUESSES) {
        found = read(way).or(found);
        most = most.max(asked.get());
        way += 1;
    }
    found.map_err(|error: Shapeless| Error::Shape(error.0))
}

/// Of so many fields that nobody says the type of, both readings are tried.
const GUESSES: u32 = 8;

/// The value of a field. What it is depends on what is wanted.
struct Field<'a>(Bytes, Guess<'a>);

/// What to read where nobody says what is wanted, and it may be text or something else.
#[derive(Clone, Copy)]
struct Guess<'a> {
    /// The places, among those that were asked about, at which it is text.
    as_text: u32,
    /// How many have been asked about.
    asked: &'a Cell<u32>,
}

impl Guess<'_> {
    /// Whether it is text this time.
    fn is_text(self) -> bool {
        let place = self.asked.get();
        self.asked.set(place + 1);
        place < GUESSES && self.as_text >> place & 1 == 1
    }
}

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

impl IntoDeserializer<'_, Shapeless> for Field<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl Field<'_> {
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

impl<'de> Deserializer<'de> for Field<'_> {
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
        match self.0.first() {
            Some(b'-' | b'0'..=b'9' | b't' | b'f' | b'[' | b'{') => {}
            _ => return visitor.visit_string(self.text()?),
        }
        match self.json::<Value>() {
            // As it would have been written.
            Ok(value) if value.to_string().as_bytes() == &self.0[..] && !self.1.is_text() => value
                .deserialize_any(visitor)
                .map_err(|error| Shapeless(error.to_string())),
            _ => visitor.visit_string(self.text()?),
        }
    }

    fn deserialize_i128<V: Visitor<'de>>(
        self,
        visitor: V,
    ) -> std::result::Result<V::Value, Shapeless> {
        visitor.visit_i128(self.json()?)
    }

    fn deserialize_u128<V: Visitor<'de>>(
        self,
        visitor: V,
    ) -> std::result::Result<V::Value, Shapeless> {
        visitor.visit_u128(self.json()?)
    }

    fn deserialize_str<V: Visitor<'de>>(
        self,
        visitor: V,
    ) -> std::result::Result<V::Value, Shapeless> {
        visitor.visit_string(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(
        self,
        visitor: V,
    ) -> std::result::Result<V::Value, Shapeless> {
        visitor.visit_string(self.text()?)
    }

    fn deserialize_char<V: Visitor<'de>>(
        self,
        visitor: V,
    ) -> std::result::Result<V::Value, Shapeless> {
        visitor.visit_string(self.text()?)
    }

    fn deserialize_identifier<V: Visitor<'de>>(
        self,
        visitor: V,
    ) -> std::result::Result<V::Value, Shapeless> {
        visitor.visit_string(self.text()?)
    }

    /// Whatever it is, nobody looks at it.
    fn deserialize_ignored_any<V: Visitor<'de>>(
        self,
        visitor: V,
    ) -> std::result::Result<V::Value, Shapeless> {
        visitor.visit_unit()
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
        unit unit_struct
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
        let fields: Vec<_> = fields.iter().map(|(k, v)| (owned(k), owned(v))).collect();
        from_fields(&fields)
    }

    #[test]
    fn a_struct_comes_back_as_it_was() {
        for user in [user(Role::Admin, Some(25)), user(Role::Guest(3), None)] {
            let (present, absent) = to_fields(&user).unwrap();
            assert_eq!(absent.len(), usize::from(user.age.is_none()));
            let fields = present.into_iter().map(|(k, v)| (k.into(), v.into()));
            let fields: Vec<_> = fields.collect();
            assert_eq!(from_fields::<User>(&fields).unwrap(), user);
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

    #[test]
    fn a_number_that_is_none_is_not_written() {
        #[derive(Serialize)]
        struct Scored {
            score: f64,
            scores: Vec<f32>,
        }
        let check = |score, last, is_fine: bool| {
            let scores = vec![0.0, last];
            let written = to_fields(&Scored { score, scores });
            assert_eq!(written.is_ok(), is_fine, "{score} {last}");
            assert!(is_fine || matches!(written, Err(Error::Shape(_))));
        };
        check(0.0, 0.0, true);
        check(f64::NAN, 0.0, false);
        check(f64::INFINITY, 0.0, false);
        check(0.0, f32::NAN, false);
    }

    #[test]
    fn large_integers_come_back_or_are_refused() {
        #[derive(Debug, Deserialize, PartialEq, Serialize)]
        struct Large {
            number: i128,
            count: u128,
        }
        let check = |number, count, is_fine: bool| {
            let large = Large { number, count };
            match to_fields(&large) {
                Ok((present, _)) => assert_eq!(back::<Large>(present).unwrap(), large),
                Err(error) => assert!(!is_fine && matches!(error, Error::Shape(_)), "{error}"),
            }
        };
        check(-7, 7, true);
        check(i64::MIN.into(), u64::MAX.into(), true);
        check(i128::MIN, 0, false);
        check(0, u128::MAX, false);
    }

    fn back<T: DeserializeOwned>(present: Vec<(String, Vec<u8>)>) -> Result<T> {
        let fields = present.into_iter().map(|(k, v)| (k.into(), v.into()));
        from_fields(&fields.collect::<Vec<_>>())
    }

    #[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
    #[serde(untagged)]
    enum Loose {
        Number(i64),
        Truth(bool),
        Text(String),
    }

    #[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
    struct Home {
        zip: String,
        number: u16,
        height: f64,
        owned: bool,
        rooms: Vec<u8>,
    }

    #[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
    struct Person {
        name: String,
        #[serde(flatten)]
        home: Home,
    }

    #[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
    #[serde(tag = "kind")]
    enum Shape {
        Circle { radius: u32 },
        Label { text: String },
    }

    #[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
    struct Named {
        value: Loose,
    }

    #[test]
    fn what_does_not_tell_its_types_comes_back_all_the_same() {
        fn check<T>(value: &T)
        where
            T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug,
        {
            let (present, _) = to_fields(value).unwrap();
            assert_eq!(&back::<T>(present).unwrap(), value);
        }
        for zip in ["0042", "12345", "true", "x", "", "1e5", "-0"] {
            let home = Home {
                zip: zip.to_owned(),
                number: 7,
                height: 2.5,
                owned: true,
                rooms: vec![1, 2],
            };
            let name = "25".to_owned();
            check(&Person { name, home });
            check(&Shape::Label {
                text: zip.to_owned(),
            });
        }
        check(&Shape::Circle { radius: 9 });
        for value in [
            Loose::Number(-25),
            Loose::Truth(false),
            Loose::Text("x".to_owned()),
            Loose::Text("0042".to_owned()),
        ] {
            check(&Named { value });
        }
        let texts: BTreeMap<String, String> = [("a".to_owned(), "1".to_owned())].into();
        check(&texts);
    }
}
