//! Reference implementations that Forerunner is measured against.
