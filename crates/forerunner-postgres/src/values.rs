//! Values of columns as parameters: one for one row, or an array for many.

use forerunner_store::backend::{Cell, Column, Kind};
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use crate::tx::Param;

/// The values of one column, one for each row.
pub(crate) enum Values {
    Short(Vec<Option<i16>>),
    Long(Vec<Option<i64>>),
    Text(Vec<Option<String>>),
    Id(Vec<Option<Uuid>>),
}

impl Values {
    /// No values of a column, with room for so many.
    pub fn of(column: &Column, room: usize) -> Self {
        match column.kind {
            Kind::Short => Self::Short(Vec::with_capacity(room)),
            Kind::Long => Self::Long(Vec::with_capacity(room)),
            Kind::Text => Self::Text(Vec::with_capacity(room)),
            Kind::Id => Self::Id(Vec::with_capacity(room)),
        }
    }

    /// Adds the value of one row.
    pub fn push(&mut self, cell: Cell<'_>) {
        match (self, cell) {
            (Self::Short(values), Cell::Number(number)) => values.push(i16::try_from(number).ok()),
            (Self::Long(values), Cell::Number(number)) => values.push(Some(number)),
            (Self::Text(values), Cell::Text(text)) => values.push(Some(text.into_owned())),
            (Self::Id(values), Cell::Id(id)) => values.push(Some(id)),
            (Self::Short(values), _) => values.push(None),
            (Self::Long(values), _) => values.push(None),
            (Self::Text(values), _) => values.push(None),
            (Self::Id(values), _) => values.push(None),
        }
    }

    /// All values, as an array.
    pub fn param(&self) -> Param<'_> {
        match self {
            Self::Short(values) => (values, Type::INT2_ARRAY),
            Self::Long(values) => (values, Type::INT8_ARRAY),
            Self::Text(values) => (values, Type::TEXT_ARRAY),
            Self::Id(values) => (values, Type::UUID_ARRAY),
        }
    }

    /// The value of the only row.
    pub fn only(&self) -> Param<'_> {
        match self {
            Self::Short(values) => first(values, Type::INT2),
            Self::Long(values) => first(values, Type::INT8),
            Self::Text(values) => first(values, Type::TEXT),
            Self::Id(values) => first(values, Type::UUID),
        }
    }
}

fn first<T: ToSql + Sync>(values: &[Option<T>], kind: Type) -> Param<'_> {
    (values.first().unwrap_or(&None), kind)
}

/// The name of the type of an array of a column's values.
pub(crate) const fn array_type(column: &Column) -> &'static str {
    match column.kind {
        Kind::Short => "int2[]",
        Kind::Long => "int8[]",
        Kind::Text => "text[]",
        Kind::Id => "uuid[]",
    }
}

/// The name of the type of a column's value.
pub(crate) const fn single_type(column: &Column) -> &'static str {
    match column.kind {
        Kind::Short => "int2",
        Kind::Long => "int8",
        Kind::Text => "text",
        Kind::Id => "uuid",
    }
}
