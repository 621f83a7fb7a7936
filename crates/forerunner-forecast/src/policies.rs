//! The registry of policies: which one a configuration names, and how to make it.

use std::{fmt, str::FromStr};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

use crate::{
    Error, Fixed, FixedSettings, Policy, PolicyLimits, Predictive, PredictiveSettings, Utilisation,
    UtilisationSettings, baselines::*,
};

/// Declares every policy once: its name in configuration, its settings and its constructor.
macro_rules! policies {
    ($($name:literal $(| $alias:literal)? => $policy:ident($settings:ident) = $make:path),+ $(,)?) => {
        /// A policy by name, with its settings.
        ///
        /// In configuration either a bare name, `"predictive"` or `"fixed:4"`, or a table with `kind` and settings:
        /// `{ kind = "utilisation", scale_up_threshold = 0.8 }`.
        #[derive(Debug, Clone, Copy, PartialEq, Serialize)]
        #[serde(tag = "kind")]
        #[non_exhaustive]
        pub enum PolicyKind {
            $(
                #[doc = concat!("[`", stringify!($policy), "`](crate::", stringify!($policy), ").")]
                #[serde(rename = $name)]
                $policy($settings),
            )+
        }

        impl PolicyKind {
            /// The names that a configuration may use.
            pub const NAMES: &[&'static str] = &[$($name),+];

            /// Returns the name used in configuration, reports and metrics.
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$policy(_) => $name,)+
                }
            }
        }

        /// Other spellings of these names.
        const ALIASES: &[&str] = &[$($($alias,)?)+];

        /// The table form, apart from [`PolicyKind`] because that also reads bare names.
        #[derive(Deserialize)]
        #[serde(tag = "kind")]
        enum Table {
            $(
                #[serde(rename = $name $(, alias = $alias)?)]
                $policy($settings),
            )+
        }

        impl From<Table> for PolicyKind {
            fn from(table: Table) -> Self {
                match table {
                    $(Table::$policy(settings) => Self::$policy(settings),)+
                }
            }
        }

        /// Makes the policy that `kind` names.
        ///
        /// # Errors
        /// [`Error::Setting`] or [`Error::Limits`] names the value that is out of its range.
        pub fn build(kind: PolicyKind, limits: PolicyLimits) -> Result<Box<dyn Policy>, Error> {
            check(&limits)?;
            Ok(match kind {
                $(PolicyKind::$policy(settings) => Box::new($make(settings, limits)?),)+
            })
        }
    };
}

policies! {
    "predictive" => Predictive(PredictiveSettings) = Predictive::new,
    "utilisation" | "utilization" => Utilisation(UtilisationSettings) = Utilisation::new,
    "knative" => Knative(KnativeSettings) = Knative::new,
    "hpa" => Hpa(HpaSettings) = Hpa::new,
    "keda" => Keda(KedaSettings) = Keda::new,
    "ray-serve" => RayServe(RayServeSettings) = RayServe::new,
    "sqrt-staffing" => SqrtStaffing(SqrtStaffingSettings) = SqrtStaffing::new,
    "keep-alive" => KeepAlive(KeepAliveSettings) = KeepAlive::new,
    "holt" => Holt(HoltSettings) = Holt::new,
    "fixed" => Fixed(FixedSettings) = Fixed::from_settings,
}

impl Default for PolicyKind {
    fn default() -> Self {
        Self::Predictive(PredictiveSettings::default())
    }
}

/// Writes the name, and for a fixed pool its size: what [`FromStr`] reads.
impl fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(FixedSettings { size }) => write!(f, "fixed:{size}"),
            other => f.write_str(other.name()),
        }
    }
}

/// Reads a name, and settings after a colon: `predictive`, `utilisation:scale_up_threshold=0.8,interval_s=2`,
/// `fixed:size=4` or `fixed:4` for short. Absent settings have their defaults.
impl FromStr for PolicyKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (name, settings) = text.split_once(':').unwrap_or((text, ""));
        if !Self::NAMES.contains(&name) && !ALIASES.contains(&name) {
            return Err(Error::UnknownPolicy { name: name.to_owned() });
        }
        let mut table = serde_json::Map::from_iter([("kind".to_owned(), name.into())]);
        for setting in settings.split(',').filter(|setting| !setting.is_empty()) {
            let (key, value) = setting.split_once('=').unwrap_or(("size", setting));
            table.insert(key.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into()));
        }
        Table::deserialize(serde_json::Value::Object(table))
            .map(Self::from)
            .map_err(|error| Error::Text { text: text.to_owned(), reason: error.to_string() })
    }
}

impl<'de> Deserialize<'de> for PolicyKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrTable;

        impl<'de> Visitor<'de> for NameOrTable {
            type Value = PolicyKind;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "the name of a policy ({}) or a table with `kind`", PolicyKind::NAMES.join(", "))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<PolicyKind, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PolicyKind, A::Error> {
                Table::deserialize(MapAccessDeserializer::new(map)).map(PolicyKind::from)
            }
        }

        deserializer.deserialize_any(NameOrTable)
    }
}

fn check(limits: &PolicyLimits) -> Result<(), Error> {
    let wrong = |key, value, allowed| Err(Error::Limits { key, value, allowed });
    let share = limits.objective.share;
    if limits.min > limits.max {
        return wrong("min", f64::from(limits.min), "at most `max`");
    }
    if !(limits.tick_s > 0.0 && limits.tick_s.is_finite()) {
        return wrong("tick_s", limits.tick_s, "above 0");
    }
    if !(limits.cold_start_s >= 0.0 && limits.cold_start_s.is_finite()) {
        return wrong("cold_start_s", limits.cold_start_s, "at least 0");
    }
    if !(share > 0.0 && share < 1.0) {
        return wrong("objective.share", share, "between 0 and 1, both excluded");
    }
    if !(limits.objective.within_s >= 0.0 && limits.objective.within_s.is_finite()) {
        return wrong("objective.within_s", limits.objective.within_s, "at least 0");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Objective;

    const LIMITS: PolicyLimits = PolicyLimits {
        min: 1,
        max: 8,
        cold_start_s: 2.0,
        tick_s: 1.0,
        objective: Objective { share: 0.99, within_s: 1.0 },
    };

    #[test]
    fn every_name_builds_its_policy() {
        for &name in PolicyKind::NAMES {
            let text = if name == "fixed" { "fixed:3" } else { name };
            let kind: PolicyKind = text.parse().expect("known");
            assert_eq!(build(kind, LIMITS).expect("in range").name(), name);
            assert_eq!(kind.to_string(), text);
        }
    }

    #[test]
    fn settings_may_follow_the_name() {
        let kind: PolicyKind = "utilisation:scale_up_threshold=0.8,interval_s=2".parse().expect("known settings");
        let expected =
            UtilisationSettings { scale_up_threshold: 0.8, interval_s: 2.0, ..UtilisationSettings::default() };
        assert_eq!(kind, PolicyKind::Utilisation(expected));
        for (text, named) in [("predictive:speed=9", "speed"), ("fixed", "size"), ("fixed:many", "many")] {
            let error = text.parse::<PolicyKind>().expect_err(text).to_string();
            assert!(error.contains(named) && error.contains(text), "{error}");
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        for text in ["\"clairvoyant\"", "{\"kind\":\"clairvoyant\"}"] {
            let error = serde_json::from_str::<PolicyKind>(text).expect_err("unknown").to_string();
            assert!(PolicyKind::NAMES.iter().all(|name| error.contains(name)), "{error}");
            assert!(error.contains("clairvoyant"), "{error}");
        }
    }

    #[test]
    fn tables_carry_settings_and_come_back_as_written() {
        let kind: PolicyKind =
            serde_json::from_str(r#"{"kind":"utilisation","scale_up_threshold":0.8}"#).expect("valid");
        let PolicyKind::Utilisation(settings) = kind else { panic!("{kind:?}") };
        assert_eq!(settings.scale_up_threshold, 0.8);
        let text = serde_json::to_string(&kind).expect("serialisable");
        assert_eq!(serde_json::from_str::<PolicyKind>(&text).expect("own output"), kind);
        assert_eq!(
            serde_json::from_str::<PolicyKind>("\"fixed:4\"").expect("valid"),
            PolicyKind::Fixed(FixedSettings { size: 4 })
        );
    }

    #[test]
    fn limits_out_of_range_are_named() {
        let error = build(PolicyKind::default(), PolicyLimits { min: 9, ..LIMITS }).err().expect("9 > 8");
        assert!(error.to_string().contains("`min` is 9"), "{error}");
        let share = Objective { share: 1.0, within_s: 1.0 };
        assert!(build(PolicyKind::default(), PolicyLimits { objective: share, ..LIMITS }).is_err());
    }
}
