//! Which status a class of errors is answered with: the one place where HTTP learns of the service's errors.

use forerunner_service::ErrorClass;

/// Returns the status of a class.
pub(crate) const fn of(class: ErrorClass) -> u16 {
    match class {
        ErrorClass::Invalid => 400,
        ErrorClass::Unauthenticated => 401,
        ErrorClass::Forbidden => 403,
        ErrorClass::NotFound => 404,
        ErrorClass::Conflict => 409,
        ErrorClass::TooLarge => 413,
        ErrorClass::FailedPrecondition => 422,
        ErrorClass::Overloaded => 429,
        ErrorClass::Internal => 500,
        ErrorClass::Unavailable => 503,
    }
}
