//! Properties of things that are async.

use std::fmt::Debug;

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, TestRunner},
};

/// Fails a property with a message, unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}
pub(super) use ensure;

/// How many cases: the bounded count, or the full one if `FORERUNNER_FULL` is set to anything but `0`.
pub(super) fn cases(bounded: u32, full: u32) -> u32 {
    match std::env::var_os("FORERUNNER_FULL") {
        Some(value) if value != "0" => full,
        _ => bounded,
    }
}

/// Tries a property on `cases` random values; on failure searches a smaller one that fails too, and shows it.
pub(super) async fn check<S: Strategy>(cases: u32, strategy: S, property: impl AsyncFn(S::Value) -> Result<(), String>)
where
    S::Value: Debug + Clone,
{
    /// Steps towards a smaller value.
    const STEPS: usize = 500;
    let mut runner = TestRunner::new(Config::default());
    for case in 0..cases {
        let mut tree = strategy.new_tree(&mut runner).expect("the strategy filters nothing");
        let value = tree.current();
        let Err(mut reason) = property(value.clone()).await else { continue };
        let mut smallest = value;
        for _ in 0..STEPS {
            if !tree.simplify() {
                break;
            }
            // Walks down while it fails, and half a step back whenever it does not.
            loop {
                let value = tree.current();
                match property(value.clone()).await {
                    Err(found) => {
                        (smallest, reason) = (value, found);
                        break;
                    }
                    Ok(()) if tree.complicate() => {}
                    Ok(()) => break,
                }
            }
        }
        panic!("case {case} fails: {reason}\nwith {smallest:#?}");
    }
}
