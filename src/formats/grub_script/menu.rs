//! The menu in a generated `grub.cfg`: entries, submenus, and what each `linux` command passes.

use std::ops::Range;

use super::lexer::{LexError, Token, Word, lex};
use super::passed::{Passed, passed_by};

/// One menu entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Titles of the submenus that it stands in, then its own, joined with `>` as GRUB names entries.
    pub title: String,
    /// `$menuentry_id_option` or `--id`.
    pub id: Option<String>,
    /// The script of `/etc/grub.d` that wrote it, by grub-mkconfig's `### BEGIN … ###`.
    pub made_by: Option<String>,
    /// Line of the `menuentry` command, from 1.
    pub line: usize,
    /// Its commands that load a Linux kernel, in order.
    pub linux: Vec<LinuxLine>,
    /// Whether it loads something other than a Linux kernel (a hypervisor, another boot loader, memtest).
    pub loads_other: bool,
}

/// One command that loads a Linux kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinuxLine {
    /// The kernel's path as GRUB sees it.
    pub kernel: String,
    /// What it passes, in order; `BOOT_IMAGE=` is not among it.
    pub args: Vec<Passed>,
    /// Line, from 1.
    pub line: usize,
    /// The whole command, from its first word to its end, without the line end.
    pub span: Range<usize>,
}

enum Block {
    Submenu,
    Entry(Entry),
    Other,
}

/// Reads the menu of a `grub.cfg`.
///
/// # Errors
/// When GRUB's lexer would refuse the file.
pub fn menu(text: &[u8]) -> Result<Vec<Entry>, LexError> {
    let mut reader =
        Reader { text, made_by: None, titles: Vec::new(), blocks: Vec::new(), found: Vec::new() };
    let mut command: Vec<Word> = Vec::new();
    for token in lex(text)? {
        match token {
            Token::Word(word) => command.push(word),
            Token::Comment(span) => {
                reader.command(&std::mem::take(&mut command));
                reader.comment(span);
            }
            Token::Open(_) => reader.open(&std::mem::take(&mut command)),
            Token::Close(_) => {
                reader.command(&std::mem::take(&mut command));
                reader.close();
            }
            Token::End(_) | Token::Other(_) => reader.command(&std::mem::take(&mut command)),
        }
    }
    reader.command(&command);
    while !reader.blocks.is_empty() {
        reader.close();
    }
    Ok(reader.found)
}

struct Reader<'a> {
    text: &'a [u8],
    made_by: Option<String>,
    titles: Vec<String>,
    blocks: Vec<Block>,
    found: Vec<Entry>,
}

impl Reader<'_> {
    fn line(&self, at: usize) -> usize {
        1 + self.text.iter().take(at).filter(|&&byte| byte == b'\n').count()
    }

    fn comment(&mut self, span: Range<usize>) {
        let text = String::from_utf8_lossy(self.text.get(span).unwrap_or_default()).into_owned();
        if let Some(script) = text.strip_prefix("### BEGIN ").and_then(|rest| rest.strip_suffix(" ###")) {
            self.made_by = Some(script.to_owned());
        } else if text.starts_with("### END ") {
            self.made_by = None;
        }
    }

    fn open(&mut self, words: &[Word]) {
        let words = after_keywords(words);
        let block = match words {
            [command, title, options @ ..] if command.is_bare("menuentry") || command.is_bare("submenu") => {
                self.titles.push(title.text());
                if command.is_bare("submenu") {
                    Block::Submenu
                } else {
                    Block::Entry(Entry {
                        title: self.titles.join(">"),
                        id: id_among(options),
                        made_by: self.made_by.clone(),
                        line: self.line(command.span.start),
                        linux: Vec::new(),
                        loads_other: false,
                    })
                }
            }
            _ => Block::Other,
        };
        self.blocks.push(block);
    }

    fn close(&mut self) {
        match self.blocks.pop() {
            Some(Block::Entry(entry)) => {
                self.titles.pop();
                self.found.push(entry);
            }
            Some(Block::Submenu) => {
                self.titles.pop();
            }
            Some(Block::Other) | None => {}
        }
    }

    fn command(&mut self, words: &[Word]) {
        let words = after_keywords(words);
        let Some((first, rest)) = words.split_first() else { return };
        let command = first.text();
        let line = self.line(first.span.start);
        let Some(entry) = self.blocks.iter_mut().rev().find_map(|block| match block {
            Block::Entry(entry) => Some(entry),
            Block::Submenu | Block::Other => None,
        }) else {
            return;
        };
        match command.as_str() {
            "linux" | "linux16" | "linuxefi" => {
                let Some((kernel, args)) = rest.split_first() else { return };
                let end = rest.last().map_or(first.span.end, |word| word.span.end);
                entry.linux.push(LinuxLine {
                    kernel: kernel.text(),
                    args: passed_by(args),
                    line,
                    span: first.span.start..end,
                });
            }
            "chainloader" | "multiboot" | "multiboot2" | "xen_hypervisor" | "configfile"
            | "legacy_configfile" | "fwsetup" => entry.loads_other = true,
            _ => {}
        }
    }
}

/// The words after `then`, `else` and the like, which begin a command.
fn after_keywords(words: &[Word]) -> &[Word] {
    const KEYWORDS: &[&str] = &["then", "else", "do", "if", "elif", "while", "until", "!"];
    let skip = words.iter().take_while(|word| KEYWORDS.iter().any(|keyword| word.is_bare(keyword))).count();
    words.get(skip..).unwrap_or_default()
}

/// `$menuentry_id_option ID` (which GRUB sets to `--id`), `--id ID` or `--id=ID`.
fn id_among(options: &[Word]) -> Option<String> {
    let is_option = |word: &Word| {
        matches!(word.text().as_str(), "$menuentry_id_option" | "${menuentry_id_option}" | "--id")
    };
    let pair = options.windows(2).find_map(|pair| match pair {
        [option, id] if is_option(option) => Some(id.text()),
        _ => None,
    });
    pair.or_else(|| options.iter().find_map(|word| word.text().strip_prefix("--id=").map(str::to_owned)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MENU: &str = "\
### BEGIN /etc/grub.d/10_linux ###
function gfxmode {
\tset gfxpayload=\"${1}\"
}
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple-x' {
\tif [ x$grub_platform = xxen ]; then insmod xzio; insmod lzopio; fi
\techo\t'Loading {Linux} 6.1 ...'
\tlinux\t/vmlinuz-6.1 root=UUID=1 ro  quiet a=\"b c\" $vt_handoff
\tinitrd\t/initrd.img-6.1
}
submenu 'Advanced options' $menuentry_id_option 'gnulinux-advanced-x' {
\tmenuentry 'Debian, (recovery mode)' --class debian $menuentry_id_option 'gnulinux-6.1-recovery-x' {
\t\tlinux\t/vmlinuz-6.1 root=UUID=1 ro single
\t}
}
### END /etc/grub.d/10_linux ###
### BEGIN /etc/grub.d/30_uefi-firmware ###
if [ \"$grub_platform\" = \"efi\" ]; then
\tmenuentry 'UEFI Firmware Settings' --id=uefi {
\t\tfwsetup
\t}
fi
";

    #[test]
    fn entries_with_their_submenus_and_arguments() {
        let menu = menu(MENU.as_bytes()).unwrap();
        let titles: Vec<_> = menu.iter().map(|entry| entry.title.as_str()).collect();
        assert_eq!(
            titles,
            ["Debian GNU/Linux", "Advanced options>Debian, (recovery mode)", "UEFI Firmware Settings"]
        );
        assert_eq!(menu[0].made_by.as_deref(), Some("/etc/grub.d/10_linux"));
        assert_eq!(menu[0].id.as_deref(), Some("gnulinux-simple-x"));
        assert_eq!(menu[0].line, 5);
        let args: Vec<_> = menu[0].linux[0].args.iter().map(|passed| passed.arg.to_string()).collect();
        assert_eq!(args, ["root=UUID=1", "ro", "quiet", "a=\"b c\"", "$vt_handoff"]);
        assert_eq!(menu[0].linux[0].kernel, "/vmlinuz-6.1");
        assert!(MENU[menu[0].linux[0].span.clone()].ends_with("$vt_handoff"));
        assert_eq!(menu[1].id.as_deref(), Some("gnulinux-6.1-recovery-x"));
        assert!(menu[2].loads_other && menu[2].id.as_deref() == Some("uefi"));
    }
}
