//! Tests of the chain over whole trees.
