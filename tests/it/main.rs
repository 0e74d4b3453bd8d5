//! The one integration binary: one link step.

mod session;
mod support;
