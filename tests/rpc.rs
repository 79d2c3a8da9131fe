//! A whole node, asked and steered over HTTP as its clients do it.

mod common;
