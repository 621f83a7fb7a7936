//! The HTTP service of Forerunner.
