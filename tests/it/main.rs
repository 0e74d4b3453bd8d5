//! The one integration binary: one link step.

mod query;
mod support;
