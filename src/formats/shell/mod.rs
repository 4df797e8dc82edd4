//! POSIX-shell configuration files such as `/etc/default/grub`: what the shell would make of them, without running
//! anything, and the edit of one piece of one value.
//!
//! [`Script::parse`] reads the grammar of dash (POSIX shell); [`evaluate`] follows assignments through all files of
//! a program in order. What cannot be known without running something ends as a [`Doubt`] in exactly the variables
//! that it can reach; a command substitution in an unrelated variable harms nothing.

mod ast;
mod builtins;
mod commands;
mod compound;
mod edit;
mod eval;
mod expand;
mod words;

pub use ast::{Quoting, Script, SyntaxError};
pub use edit::{double_quoted, respell};
pub use eval::{Char, Doubt, Environment, Site, Source, Value, evaluate};

#[cfg(test)]
mod tests;
