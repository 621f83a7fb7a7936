//! Which tasks are meant: in the query of a listing, and in the body of an operation on many.

use std::fmt;

use forerunner_core::{ContextId, Labels, PoolName, TaskState, Timestamp, parse_time};
use forerunner_service::TimeWindow;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{ObjectBuilder, Type},
    },
};

use crate::error::Problem;

/// A time as text: an instant, or how long ago it was.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub(crate) struct TimeText(String);

impl TimeText {
    fn at(&self, now: Timestamp) -> Result<Timestamp, Problem> {
        Ok(parse_time(&self.0, now)?)
    }
}

impl PartialSchema for TimeText {
    fn schema() -> RefOr<Schema> {
        let about = "A time: RFC 3339, or how long ago it was, such as `30m`, `2h` or `7d`.";
        ObjectBuilder::new().schema_type(Type::String).description(Some(about)).into()
    }
}

impl ToSchema for TimeText {
    fn name() -> std::borrow::Cow<'static, str> {
        std::borrow::Cow::Borrowed("TimeOrAge")
    }
}

/// Windows of time as asked for.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    pub(crate) created: (Option<TimeText>, Option<TimeText>),
    pub(crate) ended: (Option<TimeText>, Option<TimeText>),
    pub(crate) due: (Option<TimeText>, Option<TimeText>),
}

/// Reads a window.
pub(crate) fn window(
    (after, before): &(Option<TimeText>, Option<TimeText>),
    now: Timestamp,
) -> Result<TimeWindow, Problem> {
    let at = |text: &Option<TimeText>| text.as_ref().map(|text| text.at(now)).transpose();
    Ok(forerunner_service::time_window(at(after)?, at(before)?)?)
}

/// Query of a listing. `state` may name several, apart by commas or one by one; `label` may come several times.
#[derive(Debug, Default)]
pub(crate) struct TasksQuery {
    pub(crate) pool: Option<String>,
    pub(crate) states: Vec<String>,
    pub(crate) context: Option<String>,
    pub(crate) labels: Vec<String>,
    pub(crate) windows: Windows,
    pub(crate) cursor: Option<String>,
    pub(crate) limit: Option<String>,
}

const FIELDS: &[&str] = &[
    "pool",
    "state",
    "context",
    "label",
    "created_after",
    "created_before",
    "ended_after",
    "ended_before",
    "due_after",
    "due_before",
    "cursor",
    "limit",
];

impl<'de> Deserialize<'de> for TasksQuery {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = TasksQuery;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a query string")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TasksQuery, A::Error> {
                let mut query = TasksQuery::default();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    query.take(&name, value).map_err(|refusal| match refusal {
                        Refused::Unknown => A::Error::unknown_field(&name, FIELDS),
                        Refused::Twice => {
                            A::Error::custom(format_args!("parameter `{name}` is there twice; give it once"))
                        }
                    })?;
                }
                Ok(query)
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

/// Why a parameter is refused.
enum Refused {
    Unknown,
    Twice,
}

impl TasksQuery {
    fn take(&mut self, name: &str, value: String) -> Result<(), Refused> {
        let Windows { created, ended, due } = &mut self.windows;
        match name {
            "state" => self.states.extend(value.split(',').map(|state| state.trim().to_owned())),
            "label" => self.labels.push(value),
            "pool" => once(&mut self.pool, value)?,
            "context" => once(&mut self.context, value)?,
            "cursor" => once(&mut self.cursor, value)?,
            "limit" => once(&mut self.limit, value)?,
            "created_after" => once(&mut created.0, TimeText(value))?,
            "created_before" => once(&mut created.1, TimeText(value))?,
            "ended_after" => once(&mut ended.0, TimeText(value))?,
            "ended_before" => once(&mut ended.1, TimeText(value))?,
            "due_after" => once(&mut due.0, TimeText(value))?,
            "due_before" => once(&mut due.1, TimeText(value))?,
            _ => return Err(Refused::Unknown),
        }
        Ok(())
    }
}

fn once<T>(field: &mut Option<T>, value: T) -> Result<(), Refused> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(Refused::Twice),
    }
}

/// The conditions of an operation on many tasks, once alone and once with a pool to move them to: serde cannot tell unknown
/// fields in a struct that is made of another.
macro_rules! bulk_body {
    ($(#[$doc:meta])* $name:ident { $($(#[$of_more:meta])* $more:ident: $kind:ty,)* }) => {
        #[derive(Debug, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        $(#[$doc])*
        pub(crate) struct $name {
            $($(#[$of_more])* pub(crate) $more: $kind,)*
            /// Of this pool.
            pub(crate) pool: Option<PoolName>,
            /// In one of these states. Unless said: to cancel, tasks that have not ended; to retry, those that are `failed` or
            /// `dead`; to delete, those that have ended; to move, those that wait.
            pub(crate) states: Option<Vec<TaskState>>,
            /// Of this context.
            pub(crate) context: Option<ContextId>,
            /// With all of these labels.
            #[schema(value_type = Option<std::collections::BTreeMap<String, String>>)]
            pub(crate) labels: Option<Labels>,
            /// Submitted at this time or later.
            pub(crate) created_after: Option<TimeText>,
            /// Submitted before this time.
            pub(crate) created_before: Option<TimeText>,
            /// Ended at this time or later.
            pub(crate) ended_after: Option<TimeText>,
            /// Ended before this time.
            pub(crate) ended_before: Option<TimeText>,
            /// With a `run_at` at this time or later.
            pub(crate) due_after: Option<TimeText>,
            /// With a `run_at` before this time.
            pub(crate) due_before: Option<TimeText>,
            /// Has to be `true` where nothing else says which tasks are meant.
            pub(crate) all: Option<bool>,
            /// Change nothing, and say what would be done.
            pub(crate) dry_run: Option<bool>,
            /// Go on behind another call: `next` of that one, unchanged, with the same conditions.
            pub(crate) cursor: Option<String>,
            /// At most so many tasks in this call: 10,000 unless said, and at most.
            #[schema(minimum = 1, maximum = 10_000)]
            pub(crate) limit: Option<usize>,
        }
    };
}

bulk_body! {
    /// Which tasks to change. All conditions are to be met.
    #[schema(as = BulkRequest)]
    BulkBody {}
}

bulk_body! {
    /// Which tasks to give to another pool. All conditions are to be met.
    #[schema(as = MoveRequest)]
    MoveBody {
        /// The other pool: one of this node.
        to: PoolName,
    }
}

impl MoveBody {
    /// The other pool, and the conditions.
    pub(crate) fn parts(self) -> (PoolName, BulkBody) {
        let Self { to, pool, states, context, labels, all, dry_run, cursor, limit, .. } = self;
        let Self { created_after, created_before, ended_after, ended_before, due_after, due_before, .. } = self;
        let conditions = BulkBody {
            pool,
            states,
            context,
            labels,
            created_after,
            created_before,
            ended_after,
            ended_before,
            due_after,
            due_before,
            all,
            dry_run,
            cursor,
            limit,
        };
        (to, conditions)
    }
}
