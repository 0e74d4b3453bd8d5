//! The one integration binary: one link step.

mod admin;
mod config;
mod golden;
mod house;
mod privileges;
mod support;
