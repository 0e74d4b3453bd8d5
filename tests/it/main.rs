//! The one integration binary: one link step.

mod admin;
mod config;
mod golden;
mod house;
mod legacy;
mod privileges;
mod proxy;
mod query;
mod session;
mod support;
