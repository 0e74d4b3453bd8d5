//! The one integration binary: one link step.

mod support;
