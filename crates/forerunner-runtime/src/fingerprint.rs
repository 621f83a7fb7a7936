//! Fingerprints: what two submissions under one idempotency key must have in common.

use std::time::Duration;

use forerunner_core::{ContextId, IdempotencyKey, NewTask, PoolName, TaskSpec, TenantName, Timestamp};
use forerunner_store::KeyedTask;

/// A submission with an idempotency key, for comparison with the stored one.
#[derive(Debug, Clone)]
pub(crate) struct Keyed {
    pub(crate) pool: PoolName,
    pub(crate) key: IdempotencyKey,
    /// The fingerprint to store.
    pub(crate) fingerprint: [u8; 32],
    /// Fingerprints that an equal submission may have been stored with.
    alike: Vec<[u8; 32]>,
}

/// The pool's defaults that a submission may omit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Defaults {
    pub(crate) timeout: Duration,
    pub(crate) max_attempts: u32,
}

impl Keyed {
    /// Describes a submission; `None` if it has no key.
    ///
    /// Two submissions are equal if their inputs are equal as JSON values, and all other fields are equal. An omitted
    /// field equals the pool's default.
    pub(crate) fn of(new: &NewTask, defaults: Defaults) -> Option<Self> {
        let key = new.idempotency_key.clone()?;
        let input = *blake3::hash(new.input.canonical().as_bytes()).as_bytes();
        let timeouts = alternatives(new.timeout, defaults.timeout);
        let attempts = alternatives(new.max_attempts, defaults.max_attempts);
        let mut alike = Vec::with_capacity(5);
        for timeout in timeouts.iter().copied().flatten() {
            for max_attempts in attempts.iter().copied().flatten() {
                alike.push(hash(new, b"json", &input, timeout, max_attempts));
            }
        }
        let fingerprint = hash(new, b"json", &input, new.timeout, new.max_attempts);
        // The fingerprint of version 0.1.0: over the text of the input.
        alike.push(hash(new, b"", new.input.as_str().as_bytes(), new.timeout, new.max_attempts));
        Some(Self { pool: new.pool.clone(), key, fingerprint, alike })
    }

    /// Returns whether this is the same submission as the stored one.
    pub(crate) fn is_of(&self, stored: &KeyedTask) -> bool {
        stored.fingerprint.is_some_and(|known| known == self.fingerprint || self.alike.contains(&known))
    }
}

/// The given value, and the value that means the same: the default for an omitted one, an omitted one for the default.
fn alternatives<T: PartialEq + Copy>(given: Option<T>, default: T) -> [Option<Option<T>>; 2] {
    let other = match given {
        None => Some(Some(default)),
        Some(given) if given == default => Some(None),
        Some(_) => None,
    };
    [Some(given), other]
}

/// A hash of everything in a submission except for the key.
fn hash(new: &NewTask, form: &[u8], input: &[u8], timeout: Option<Duration>, max_attempts: Option<u32>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let mut field = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    if !form.is_empty() {
        field(form);
    }
    field(new.pool.as_str().as_bytes());
    field(input);
    field(new.context.as_ref().map_or("", ContextId::as_str).as_bytes());
    field(&[new.priority.get()]);
    for time in [new.run_at, new.deadline] {
        field(&time.map_or(0, Timestamp::as_micros).to_le_bytes());
    }
    field(&timeout.unwrap_or_default().as_nanos().to_le_bytes());
    field(&max_attempts.unwrap_or(0).to_le_bytes());
    for (key, value) in &new.labels {
        field(key.as_bytes());
        field(value.as_bytes());
    }
    // Only if there is a parent, so that stored fingerprints remain valid.
    if let Some(parent) = &new.parent {
        field(b"parent");
        field(parent.as_uuid().as_bytes());
    }
    if new.tenant != TenantName::default() {
        field(b"tenant");
        field(new.tenant.as_str().as_bytes());
    }
    // Whoever submits it once more, it is the same task.
    let spec = new.spec.as_ref().map(|spec| TaskSpec { submitted_by: None, ..TaskSpec::clone(spec) });
    if let Some(spec) = spec.filter(|spec| *spec != TaskSpec::default()) {
        field(b"spec");
        field(serde_json::to_string(&spec).unwrap_or_default().as_bytes());
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use forerunner_core::{Payload, Task, TaskId};

    use super::*;

    const DEFAULTS: Defaults = Defaults { timeout: Duration::from_secs(600), max_attempts: 5 };

    fn new(input: &str) -> NewTask {
        let idempotency_key = Some(IdempotencyKey::new("k").unwrap());
        NewTask { idempotency_key, ..NewTask::new(PoolName::new("p").unwrap(), Payload::parse(input).unwrap()) }
    }

    /// Whether the second submission counts as the first one.
    fn same(first: &NewTask, second: &NewTask, defaults: Defaults) -> bool {
        let fingerprint = Some(Keyed::of(first, DEFAULTS).unwrap().fingerprint);
        let (now, id) = (Timestamp::default(), TaskId::from_parts(Timestamp::default(), 1));
        let task = Task::accepted(id, first.clone(), now, DEFAULTS.timeout, Default::default());
        Keyed::of(second, defaults).unwrap().is_of(&KeyedTask { task, fingerprint })
    }

    #[test]
    fn inputs_are_compared_as_values() {
        assert!(same(&new(r#"{"a":1,"b":[2]}"#), &new(r#"{ "b": [2.0], "a": 1 }"#), DEFAULTS));
        assert!(!same(&new(r#"{"a":1}"#), &new(r#"{"a":2}"#), DEFAULTS));
    }

    #[test]
    fn the_same_task_of_another_key_is_the_same_and_that_of_another_tenant_is_not() {
        let by = |name: &str| {
            let submitted_by = Some(forerunner_core::ApiKeyName::new(name).unwrap());
            NewTask { spec: Some(Box::new(TaskSpec { submitted_by, ..TaskSpec::default() })), ..new("1") }
        };
        assert!(same(&by("ci"), &by("cd"), DEFAULTS) && same(&new("1"), &by("ci"), DEFAULTS));
        let of_tenant = NewTask { tenant: TenantName::new("acme").unwrap(), ..new("1") };
        assert!(!same(&new("1"), &of_tenant, DEFAULTS));
    }

    #[test]
    fn another_parent_is_another_body() {
        let child = |number| NewTask { parent: Some(TaskId::from_parts(Timestamp::default(), number)), ..new("1") };
        assert!(same(&child(1), &child(1), DEFAULTS));
        assert!(!same(&child(1), &child(2), DEFAULTS) && !same(&new("1"), &child(1), DEFAULTS));
    }

    #[test]
    fn a_default_may_be_given_or_not() {
        let given = NewTask { timeout: Some(DEFAULTS.timeout), max_attempts: Some(5), ..new("1") };
        assert!(same(&new("1"), &given, DEFAULTS) && same(&given, &new("1"), DEFAULTS));
        let other = NewTask { timeout: Some(Duration::from_secs(1)), ..new("1") };
        assert!(!same(&new("1"), &other, DEFAULTS) && !same(&other, &new("1"), DEFAULTS));
    }

    #[test]
    fn the_same_body_stays_the_same_when_the_defaults_change() {
        let changed = Defaults { timeout: Duration::from_secs(1), max_attempts: 1 };
        let given = NewTask { timeout: Some(DEFAULTS.timeout), ..new("1") };
        assert!(same(&given, &given, changed) && same(&new("1"), &new("1"), changed));
    }

    #[test]
    fn what_version_0_1_0_stored_is_recognised() {
        let old = hash(&new(r#"{"a": 1}"#), b"", br#"{"a": 1}"#, None, None);
        let keyed = Keyed::of(&new(r#"{"a": 1}"#), DEFAULTS).unwrap();
        assert!(keyed.alike.contains(&old));
    }
}
