//! Texts in lists and tables, from which serde reads a configuration.

use std::collections::{BTreeMap, btree_map};
use std::fmt;

use serde::de::value::SeqDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, Visitor, value::StringDeserializer,
};
use serde::{Deserialize, forward_to_deserialize_any};

/// What is wrong with a URL.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Flaw(pub(super) String);

impl Flaw {
    pub(super) fn of(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl Error for Flaw {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self(text.to_string())
    }
}

/// Texts in lists and tables.
pub(super) enum Tree {
    /// A value, and the word in the URL that it belongs to.
    Text {
        word: String,
        value: String,
    },
    List(Vec<Tree>),
    Table(BTreeMap<String, Tree>),
}

impl Tree {
    pub(super) fn empty() -> Self {
        Self::Table(BTreeMap::new())
    }

    pub(super) fn list(values: impl IntoIterator<Item = String>) -> Self {
        Self::List(values.into_iter().map(|value| Self::Text { word: "node".to_owned(), value }).collect())
    }

    fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Table(fields) => fields.get(name),
            Self::Text { .. } | Self::List(_) => None,
        }
    }

    pub(super) fn contains(&self, field: &str) -> bool {
        self.field(field).is_some()
    }

    pub(super) fn has(&self, table: &str, field: &str) -> bool {
        self.field(table).is_some_and(|table| table.contains(field))
    }

    pub(super) fn text(&self, table: &str, field: &str) -> Option<&str> {
        match self.field(table)?.field(field)? {
            Self::Text { value, .. } => Some(value),
            Self::List(_) | Self::Table(_) => None,
        }
    }

    /// Adds a field to a table.
    pub(super) fn insert(&mut self, field: &str, value: Self) {
        if let Self::Table(fields) = self {
            fields.insert(field.to_owned(), value);
        }
    }

    /// Returns the table in this field. Adds an empty one if there is none.
    pub(super) fn table(&mut self, field: &str) -> &mut Self {
        match self {
            Self::Table(fields) => fields.entry(field.to_owned()).or_insert_with(Self::empty),
            // No other is ever asked.
            other => other,
        }
    }

    /// Adds a text to the table in this field, for a word of the URL.
    pub(super) fn put(&mut self, table: &str, field: &str, word: &str, value: String) -> Result<(), Flaw> {
        self.table(table).put_text(field, word, value)
    }

    /// Adds a text, for a word of the URL.
    pub(super) fn put_text(&mut self, field: &str, word: &str, value: String) -> Result<(), Flaw> {
        if self.contains(field) {
            return Err(Flaw(format!("{word} is set twice")));
        }
        self.insert(field, Self::Text { word: word.to_owned(), value });
        Ok(())
    }

    fn number<N: std::str::FromStr>(self) -> Result<N, Flaw> {
        match self {
            Self::Text { value, .. } => value.parse().map_err(|_| Flaw::of("expected a whole number")),
            Self::List(_) | Self::Table(_) => Err(Flaw::of("expected a whole number")),
        }
    }
}

impl<'de> Deserializer<'de> for Tree {
    type Error = Flaw;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Flaw> {
        match self {
            Self::Text { value, .. } => match value.parse() {
                Ok(number) => visitor.visit_u64(number),
                Err(_) => visitor.visit_string(value),
            },
            Self::List(values) => visitor.visit_seq(SeqDeserializer::new(values.into_iter())),
            Self::Table(fields) => visitor.visit_map(Fields { left: fields.into_iter(), value: None }),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Flaw> {
        match self {
            // `client_name=7` is a text.
            Self::Text { value, .. } => visitor.visit_string(value),
            other @ (Self::List(_) | Self::Table(_)) => other.deserialize_any(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Flaw> {
        self.deserialize_string(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Flaw> {
        visitor.visit_some(self)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Flaw> {
        match self {
            Self::Text { value, .. } if value == "true" => visitor.visit_bool(true),
            Self::Text { value, .. } if value == "false" => visitor.visit_bool(false),
            _ => Err(Flaw::of("expected true or false")),
        }
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Flaw> {
        visitor.visit_u32(self.number()?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Flaw> {
        visitor.visit_u64(self.number()?)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Flaw> {
        match self {
            Self::Text { value, .. } => {
                let name: StringDeserializer<Flaw> = value.into_deserializer();
                visitor.visit_enum(name)
            }
            other @ (Self::List(_) | Self::Table(_)) => other.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Flaw> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u128 f32 f64 char bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Flaw> for Tree {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// The fields of a table, one after the other.
struct Fields {
    left: btree_map::IntoIter<String, Tree>,
    value: Option<Tree>,
}

impl<'de> MapAccess<'de> for Fields {
    type Error = Flaw;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Flaw> {
        let Some((field, value)) = self.left.next() else { return Ok(None) };
        self.value = Some(value);
        let name: StringDeserializer<Flaw> = field.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Flaw> {
        let value = self.value.take().ok_or(Flaw::of("a value without a name"))?;
        let word = match &value {
            Tree::Text { word, .. } => Some(word.clone()),
            Tree::List(_) | Tree::Table(_) => None,
        };
        seed.deserialize(value).map_err(|Flaw(text)| match word {
            Some(word) => Flaw(format!("{word}: {text}")),
            None => Flaw(text),
        })
    }
}

/// Returns the names of the fields of a struct, as files have them.
pub(super) fn fields_of<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut names: &[&str] = &[];
    // It fails once it has the names.
    T::deserialize(Names(&mut names)).map_or_else(drop, drop);
    names
}

struct Names<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = Flaw;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Flaw> {
        Err(Flaw::of("no struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Flaw> {
        *self.0 = names;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
