//! The one integration binary: one link step.

mod config;
mod query;
mod support;
