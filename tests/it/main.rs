//! The one integration binary: one link step.

mod legacy;
mod support;
