//! GRUB's script language: its lexer, what its `linux` command passes to the kernel, the inverse, and the menu.
//!
//! The rules are those of GRUB 2's `grub-core/script/yylex.l` and `grub-core/lib/cmdline.c`.

mod lexer;
mod menu;
mod passed;

pub use lexer::{LexError, Piece, Token, Word, lex};
pub use menu::{Entry, LinuxLine, menu};
pub use passed::{Passed, Unpassable, passed, passed_by, quote};
