//! Filters of tasks: in the query of a listing, and in the body of a bulk operation.

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

/// Requested windows of time.
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

/// Query of a listing. `state` may list several states, separated by commas or repeated; `label` may be repeated.
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
                        ParameterError::Unknown => A::Error::unknown_field(&name, FIELDS),
                        ParameterError::Twice => {
                            A::Error::custom(format_args!("parameter `{name}` occurs twice; send it once"))
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
enum ParameterError {
    Unknown,
    Twice,
}

impl TasksQuery {
    fn take(&mut self, name: &str, value: String) -> Result<(), ParameterError> {
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
            _ => return Err(ParameterError::Unknown),
        }
        Ok(())
    }
}

fn once<T>(field: &mut Option<T>, value: T) -> Result<(), ParameterError> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(ParameterError::Twice),
    }
}

/// The conditions of a bulk operation, with and without a pool to move tasks to. serde cannot detect unknown fields in
/// a flattened struct, so the macro repeats the fields.
macro_rules! bulk_body {
    ($(#[$doc:meta])* $name:ident { $($(#[$of_more:meta])* $more:ident: $kind:ty,)* }) => {
        #[derive(Debug, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        $(#[$doc])*
        pub(crate) struct $name {
            $($(#[$of_more])* pub(crate) $more: $kind,)*
            /// Of this pool.
            pub(crate) pool: Option<PoolName>,
            /// In one of these states. By default: cancel applies to tasks that have not ended, retry to `failed` and
            /// `dead` ones, delete to ended ones, move to waiting ones.
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
            /// Must be `true` if there is no other condition.
            pub(crate) all: Option<bool>,
            /// Change nothing, and report what would be done.
            pub(crate) dry_run: Option<bool>,
            /// Continue after another call: its `next`, unchanged, with the same conditions.
            pub(crate) cursor: Option<String>,
            /// At most this many tasks in this call; the default and the limit are 10,000.
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
    /// The tasks to move to another pool. All conditions must be met.
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
