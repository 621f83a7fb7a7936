//! Panics that a test provokes are not printed; all others are.

use parking_lot::Mutex;

/// Only one test changes the hook at a time.
static HOOK: Mutex<()> = Mutex::new(());

/// Keeps panics with such a text out of the output, from now on. All others go to the hook of before, whatever happens in
/// the test, so nothing has to be restored.
pub fn expect_panics(is_expected: impl Fn(&str) -> bool + Send + Sync + 'static) {
    let _one_at_a_time = HOOK.lock();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let payload = panic.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied());
        if !text.is_some_and(&is_expected) {
            before(panic);
        }
    }));
}
