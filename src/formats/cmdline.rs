//! The kernel command line: split exactly as the kernel splits it, and what repeating a parameter means.

use std::ops::Range;

use crate::types::KernelArg;

/// `COMMAND_LINE_SIZE` on x86, arm64 and powerpc (`arch/*/include/.../setup.h`), with the final zero byte.
pub const MAX_BYTES: usize = 2048;

/// One argument and the bytes of the line that it was read from, quotes included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The argument.
    pub arg: KernelArg,
    /// Where it stands in the line.
    pub span: Range<usize>,
}

/// A command line: what the kernel takes and what it leaves to init.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommandLine {
    /// Arguments before a bare `--`, in order.
    pub kernel: Vec<Token>,
    /// Arguments after it; the kernel hands them to init.
    pub init: Vec<Token>,
}

impl CommandLine {
    /// Reads a line; a bare `--` ends the kernel's arguments (`kernel/params.c`, `parse_args`).
    pub fn parse(line: &[u8]) -> Self {
        let mut kernel = tokens(line);
        let end = kernel.iter().position(|token| is_terminator(&token.arg));
        let init = end.map(|end| kernel.split_off(end).split_off(1)).unwrap_or_default();
        Self { kernel, init }
    }

    /// The kernel's arguments.
    pub fn args(&self) -> impl Iterator<Item = &KernelArg> {
        self.kernel.iter().map(|token| &token.arg)
    }
}

/// Whether this is the bare `--` that ends the kernel's arguments.
pub fn is_terminator(arg: &KernelArg) -> bool {
    arg.name() == "--" && arg.value().is_none()
}

/// The kernel's `isspace` (`lib/ctype.c`): ASCII blanks, and the byte 0xa0.
fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ' | 0xa0)
}

/// Every argument of a line, `--` included (`lib/cmdline.c`, `next_arg`). The line ends at a zero byte.
pub fn tokens(line: &[u8]) -> Vec<Token> {
    let line = line.split(|&byte| byte == 0).next().unwrap_or_default();
    let mut found = Vec::new();
    let mut at = 0;
    loop {
        at += line.iter().skip(at).take_while(|&&byte| is_space(byte)).count();
        if at >= line.len() {
            return found;
        }
        let token = next(line, at);
        at = token.span.end;
        found.push(token);
    }
}

fn next(line: &[u8], start: usize) -> Token {
    let byte_at = |at: usize| line.get(at).copied();
    let quoted = byte_at(start) == Some(b'"');
    let first = if quoted { start + 1 } else { start };
    let mut in_quote = quoted;
    let mut equals = None;
    let mut end = first;
    while let Some(byte) = byte_at(end) {
        if is_space(byte) && !in_quote {
            break;
        }
        // Only a later '=' splits: a token that starts with one has no value.
        if byte == b'=' && equals.is_none() && end > first {
            equals = Some(end);
        }
        if byte == b'"' {
            in_quote = !in_quote;
        }
        end += 1;
    }
    let ends_in_quote = end > first && byte_at(end - 1) == Some(b'"');
    let value_quoted = equals.is_some_and(|equals| byte_at(equals + 1) == Some(b'"') && equals + 1 < end);
    // One closing quote goes if the token or the value was opened by one.
    let mut stop = if ends_in_quote && (quoted || value_quoted) { end - 1 } else { end };
    // The kernel tests for the closing quote of the value first and for that of the token afterwards, and the
    // first test has put a zero byte there already: never are two taken away.
    let text =
        |range: Range<usize>| String::from_utf8_lossy(line.get(range).unwrap_or_default()).into_owned();
    let arg = match equals {
        None => KernelArg::new(text(first..stop), None),
        Some(equals) => {
            let from = if value_quoted { equals + 2 } else { equals + 1 };
            stop = stop.max(from);
            KernelArg::new(text(first..equals), Some(text(from..stop)))
        }
    };
    Token { arg, span: start..end }
}

/// What it means to give a parameter more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repetition {
    /// The last one counts: another value is a conflict.
    LastWins,
    /// Each one counts; the values are lists or independent.
    Cumulative,
    /// Each one counts and its value is a list of options separated by commas.
    CumulativeList,
    /// `hugepagesz=` and the `hugepages=` after it belong together.
    HugePages,
}

/// What repeating the parameter `name` means. Unknown names count as single-valued: module parameters are
/// (`param_set_copystring`). Sources: kernel-parameters.txt and the setup functions named there,
/// `mm/hugetlb.c`, libkmod's `kcmdline`, dracut.cmdline(7), systemd's kernel-command-line(7).
pub fn repetition(name: &str) -> Repetition {
    const LISTS: &[&str] = &[
        "iommu",
        "intel-iommu",
        "amd-iommu",
        "pci",
        "modprobe.blacklist",
        "blacklist",
        "rd.driver.blacklist",
        "rd.driver.pre",
        "rd.driver.post",
        "modules-load",
        "rd.modules-load",
        "initcall-blacklist",
    ];
    const EACH: &[&str] = &[
        "console",
        "earlycon",
        "earlyprintk",
        "netconsole",
        "crashkernel",
        "memmap",
        "mem",
        "movablecore",
        "kernelcore",
        "ivrs-ioapic",
        "ivrs-hpet",
        "ivrs-acpihid",
        "acpi-osi",
        "acpi",
        "efi",
        "dyndbg",
        "ftrace-filter",
        "trace-event",
        "video",
        "ip",
        "ifname",
        "nameserver",
        "bridge",
        "bond",
        "vlan",
        "team",
        "pcie-acs-override",
        "systemd.mask",
        "systemd.wants",
        "systemd.setenv",
        "luks.uuid",
        "luks.name",
        "luks.options",
        "luks.key",
        "cgroup-disable",
        "cgroup-enable",
        "reserve",
        "xen-pciback.hide",
    ];
    let name = name.replace('_', "-");
    match name.as_str() {
        "hugepagesz" | "hugepages" | "default-hugepagesz" => Repetition::HugePages,
        name if LISTS.contains(&name) => Repetition::CumulativeList,
        name if EACH.contains(&name) || name.starts_with("rd.") || name.ends_with(".dyndbg") => {
            Repetition::Cumulative
        }
        _ => Repetition::LastWins,
    }
}

/// Whether the boot loader, not a configuration, gives this argument: never drift.
pub fn is_injected(arg: &KernelArg) -> bool {
    const INJECTED: &[&str] = &["BOOT_IMAGE", "initrd", "systemd.machine_id", "ostree", "root", "ro", "rw"];
    INJECTED.iter().any(|name| arg.is_named(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Pairs<'a> = &'a [(&'a str, Option<&'a str>)];

    fn read(line: &str) -> Vec<(String, Option<String>)> {
        tokens(line.as_bytes())
            .into_iter()
            .map(|token| (token.arg.name().to_owned(), token.arg.value().map(str::to_owned)))
            .collect()
    }

    #[test]
    fn splits_as_next_arg_does() {
        let cases: &[(&str, Pairs<'_>)] = &[
            ("", &[]),
            ("  a  b\t c\n", &[("a", None), ("b", None), ("c", None)]),
            ("a=b=c", &[("a", Some("b=c"))]),
            ("=x", &[("=x", None)]),
            ("==x", &[("=", Some("x"))]),
            ("a=", &[("a", Some(""))]),
            ("b=\"c d\" e", &[("b", Some("c d")), ("e", None)]),
            ("\"b=c d\" e", &[("b", Some("c d")), ("e", None)]),
            ("e=f\"g h\"i", &[("e", Some("f\"g h\"i"))]),
            ("a='b c'", &[("a", Some("'b")), ("c'", None)]),
            ("a=\"b", &[("a", Some("b"))]),
            ("a=\"", &[("a", Some(""))]),
            ("a=\"\" b", &[("a", Some("")), ("b", None)]),
            ("\"\" b", &[("", None), ("b", None)]),
            ("\"a=\"b c\"\"", &[("a", Some("b")), ("c\"\"", None)]),
            ("a\\ b", &[("a\\", None), ("b", None)]),
            ("a=b\" c", &[("a", Some("b\" c"))]),
        ];
        for (line, expected) in cases {
            let expected: Vec<_> =
                expected.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect();
            assert_eq!(read(line), expected, "{line:?}");
        }
        assert_eq!(tokens(b"a\xa0b").len(), 2, "the kernel's isspace knows Latin-1's blank");
        assert_eq!(tokens(b"a\0b").len(), 1);
    }

    #[test]
    fn a_bare_double_dash_ends_the_kernels_arguments() {
        let line = CommandLine::parse(b"a --x --=y -- b=c --");
        assert_eq!(line.args().map(ToString::to_string).collect::<Vec<_>>(), ["a", "--x", "--=y"]);
        assert_eq!(line.init.len(), 2);
    }

    #[test]
    fn repetition_knows_names_in_both_spellings() {
        assert_eq!(repetition("intel_iommu"), Repetition::CumulativeList);
        assert_eq!(repetition("modprobe.blacklist"), Repetition::CumulativeList);
        assert_eq!(repetition("rd.driver.pre"), Repetition::CumulativeList);
        assert_eq!(repetition("console"), Repetition::Cumulative);
        assert_eq!(repetition("default_hugepagesz"), Repetition::HugePages);
        assert_eq!(repetition("vfio-pci.ids"), Repetition::LastWins);
        assert_eq!(repetition("module_blacklist"), Repetition::LastWins);
    }

    proptest! {
        #[test]
        fn spans_tile_the_line(line: Vec<u8>) {
            let mut last = 0;
            for token in tokens(&line) {
                prop_assert!(token.span.start >= last && token.span.end <= line.len());
                last = token.span.end;
            }
        }
    }
}
