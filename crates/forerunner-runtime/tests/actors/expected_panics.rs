//! Panics that a test provokes are not printed; all others are.

use parking_lot::Mutex;

/// Only one test changes the hook at a time.
static HOOK: Mutex<()> = Mutex::new(());

/// Suppresses the output of panics with matching text, from now on. The previous hook handles all others, whatever
/// happens in the test, so nothing has to be restored.
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
