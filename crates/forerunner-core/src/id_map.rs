//! Maps whose keys are ids.

use std::collections::HashMap;

/// A map by task, agent or node id, or by the name of a configured pool. Its hash is a few multiplications: no stranger
/// chooses such keys, so nobody can make them collide.
pub type IdMap<K, V> = HashMap<K, V, IdState>;

/// Builds the hashers of an [`IdMap`].
pub type IdState = rustc_hash::FxBuildHasher;
