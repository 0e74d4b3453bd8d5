//! The one integration binary: one link step.

mod proxy;
mod support;
