//! The one integration binary: one link step.

mod config;
mod privileges;
mod query;
mod support;
