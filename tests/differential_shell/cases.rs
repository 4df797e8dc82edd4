//! Hand-written cases, the nasty ones among them.

use Expected::{Certain, Uncertain};

/// Whether both command-line variables can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    Certain,
    Uncertain,
}

#[derive(Debug)]
pub(crate) struct Case {
    /// Sourced in this order.
    pub files: &'static [&'static str],
    pub expected: Expected,
}

const fn case(files: &'static [&'static str], expected: Expected) -> Case {
    Case { files, expected }
}

pub(crate) const CASES: &[Case] = &[
    // What distributions ship.
    case(
        &[
            "GRUB_DEFAULT=0\nGRUB_TIMEOUT=5\nGRUB_DISTRIBUTOR=`lsb_release -i -s 2> /dev/null || echo Debian`\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\nGRUB_CMDLINE_LINUX=\"\"\n",
        ],
        Certain,
    ),
    case(
        &[
            "GRUB_DISTRIBUTOR=`( . /etc/os-release; echo ${NAME:-Debian} ) 2>/dev/null || echo Debian`\nGRUB_CMDLINE_LINUX_DEFAULT=quiet\n",
        ],
        Certain,
    ),
    case(
        &["GRUB_DISTRIBUTOR=\"$(sed 's, release .*$,,g' /etc/hostname)\"\nGRUB_CMDLINE_LINUX=\"a b\"\n"],
        Certain,
    ),
    case(
        &[
            "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet splash\"\n",
            "# Cloud Image specific\nGRUB_CMDLINE_LINUX_DEFAULT=\"console=tty1 console=ttyS0\"\n",
            "GRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX_DEFAULT crashkernel=384M-:128M\"\n",
        ],
        Certain,
    ),
    case(
        &[
            "GRUB_CMDLINE_LINUX_DEFAULT=\"${GRUB_CMDLINE_LINUX_DEFAULT:+$GRUB_CMDLINE_LINUX_DEFAULT }iommu=pt\"\n",
        ],
        Certain,
    ),
    // Quoting.
    case(&["GRUB_CMDLINE_LINUX='a \"b\" $c \\d'\n"], Certain),
    case(&["GRUB_CMDLINE_LINUX=\"a \\\"b c\\\" \\$d \\`e\\` \\\\f \\g\"\n"], Certain),
    case(&["GRUB_CMDLINE_LINUX=a\\ b\\\"c\\'d\n"], Certain),
    case(&["GRUB_CMDLINE_LINUX=\"a\"'b'c\"d e\"\n"], Certain),
    case(&["GRUB_CMDLINE_LINUX=\"a\\\nb\"\nGRUB_CMDLINE_LINUX_DEFAULT='c\\\nd'\n"], Certain),
    case(&["GRUB_CMDLINE_LINUX=\\\nfoo\\\nbar\n"], Certain),
    case(&["GRUB_CMDLINE_\\\nLINUX=foo\n"], Certain),
    case(&["A=x; GRUB_CMDLINE_LINUX=\"$\\\nA ${\\\nA}\"\n"], Certain),
    case(&["GRUB_CMDLINE_LINUX=\"two\nlines\"\n"], Certain),
    case(&["GRUB_CMDLINE_LINUX=\"$ a$\" GRUB_CMDLINE_LINUX_DEFAULT=$\n"], Certain),
    case(&["GRUB_CMDLINE_LINUX=\"\\\\\\\\x22\"\n"], Certain),
    case(&["GRUB_CMDLINE_LINUX=é\"ü\"\n"], Certain),
    case(&["GRUB_CMDLINE_LINUX=a\\"], Certain),
    case(&["GRUB_CMDLINE_LINUX=\"a\r\"\n"], Certain),
    case(&["GRUB_CMDLINE_LINUX=a\r\n"], Certain),
    case(&["GRUB_CMDLINE_LINUX=\"a\"\r\n\r\nA=1\r\n"], Uncertain),
    // Comments and separators.
    case(&["#GRUB_CMDLINE_LINUX=a\nGRUB_CMDLINE_LINUX=b#c #d\\\nA=1\n"], Certain),
    case(&["GRUB_CMDLINE_LINUX=a;GRUB_CMDLINE_LINUX_DEFAULT=b\n"], Certain),
    case(&["GRUB_CMDLINE_LINUX=a GRUB_CMDLINE_LINUX_DEFAULT=$GRUB_CMDLINE_LINUX\n"], Certain),
    case(&["  \tGRUB_CMDLINE_LINUX=a\t# it's \"\n"], Certain),
    case(&["export GRUB_CMDLINE_LINUX=a GRUB_CMDLINE_LINUX_DEFAULT\n"], Certain),
    case(&["A='x y'; export GRUB_CMDLINE_LINUX=$A\n"], Certain),
    case(&["A='x y'\nexport GRUB_CMDLINE_LINUX=\"p $A\" B=\"q\"\n"], Certain),
    case(&["GRUB_CMDLINE_LINUX=a\nunset GRUB_CMDLINE_LINUX\n"], Certain),
    case(&["GRUB_CMDLINE_LINUX=x true\n"], Certain),
    case(&["GRUB_CMDLINE_LINUX=a && GRUB_CMDLINE_LINUX_DEFAULT=b\n"], Certain),
    case(&["A=1 || GRUB_CMDLINE_LINUX=b\n"], Certain),
    case(&["false || GRUB_CMDLINE_LINUX=b\n"], Certain),
    case(&["{ GRUB_CMDLINE_LINUX=a; }\n"], Certain),
    case(&["( GRUB_CMDLINE_LINUX=a )\n"], Certain),
    case(&["GRUB_CMDLINE_LINUX=a | cat\n"], Certain),
    case(&["GRUB_CMDLINE_LINUX=a &\n"], Certain),
    case(&["GRUB_CMDLINE_LINUX=a >/dev/null\n"], Certain),
    // Expansions.
    case(&["GRUB_CMDLINE_LINUX=\"${A:-x y} ${A-'s'} ${A:-\"q\"}\"\n"], Certain),
    case(&["GRUB_CMDLINE_LINUX=${A:-'x y'}${A:-\"z  z\"}${A:-p q}\n"], Certain),
    case(&["A=\nGRUB_CMDLINE_LINUX=\"${A-u}${A:-v}${A+w}${A:+x}${B+y}\"\n"], Certain),
    case(&[": ${GRUB_CMDLINE_LINUX:=a b}\n"], Certain),
    case(&[": \"${GRUB_CMDLINE_LINUX:=a b}\" \"${GRUB_CMDLINE_LINUX:=c}\"\n"], Certain),
    case(
        &["A=foo.tar.gz; GRUB_CMDLINE_LINUX=\"${A%.*} ${A%%.*} ${A#*.} ${A##*.} ${A#foo} ${A%gz} ${#A}\"\n"],
        Certain,
    ),
    case(&["A='a*b'; GRUB_CMDLINE_LINUX=\"${A%\"*\"*} ${A#a\\*}\"\n"], Certain),
    case(&["A=\"quiet splash\"; GRUB_CMDLINE_LINUX=\"${A%splash}${A#quiet}\"\n"], Certain),
    case(&["GRUB_CMDLINE_LINUX=a*b?[c]{d,e}\n"], Certain),
    case(&["GRUB_CMDLINE_LINUX=a~b\n"], Certain),
    case(&["GRUB_CMDLINE_LINUX=\"${A:-a\\}b}\" A=${B:-c\\}d}\n"], Certain),
    case(&["GRUB_CMDLINE_LINUX=!a\n"], Certain),
    case(&["B=$(cat <<EOF\nit's ) \"\nEOF\n)\nGRUB_CMDLINE_LINUX=a\n"], Certain),
    case(&["cat <<EOF >/dev/null\nGRUB_CMDLINE_LINUX=no\nEOF\nGRUB_CMDLINE_LINUX=a\n"], Certain),
    case(&["cat <<'EOF' >/dev/null\n$(x) ${y=z}\nEOF\nGRUB_CMDLINE_LINUX=a\n"], Certain),
    // Nothing to do with the two variables.
    case(&["if [ -d /etc ]; then A=1; else A=2; fi\nGRUB_CMDLINE_LINUX=a\n"], Certain),
    case(&["for X in 1 2; do A=\"$A$X\"; done\nGRUB_CMDLINE_LINUX=a\n"], Certain),
    case(&["case \"$A\" in a|b) B=1 ;; (*) B=2 ;; esac\nGRUB_CMDLINE_LINUX=a\n"], Certain),
    case(&["while false; do A=1; done\nuntil true; do A=1; done\nGRUB_CMDLINE_LINUX=a\n"], Certain),
    case(&["f() { A=1; }\nf\nGRUB_CMDLINE_LINUX=a\n"], Certain),
    case(&["f() { GRUB_CMDLINE_LINUX=never; }\nGRUB_CMDLINE_LINUX=a\n"], Certain),
    case(&["[ -e /nonexistent ] && A=1 || B=2\nGRUB_CMDLINE_LINUX=a\n"], Certain),
    case(&["echo hello >/dev/null\ntrue\ntest -d /\nGRUB_CMDLINE_LINUX=a\n"], Certain),
    case(&["A=$((1+2))\nGRUB_CMDLINE_LINUX=a\n"], Certain),
    case(&["A=$'x\\n'\nGRUB_CMDLINE_LINUX=a\n"], Certain),
    case(&["read A </etc/hostname || true\nGRUB_CMDLINE_LINUX=a\n"], Certain),
    case(&["set -e\nGRUB_CMDLINE_LINUX=a\n"], Certain),
    case(&["return\nA=1\n", "GRUB_CMDLINE_LINUX=a\n"], Certain),
    case(
        &[
            "GRUB_CMDLINE_LINUX=a\nreturn 0\nGRUB_CMDLINE_LINUX=b\n",
            "GRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX c\"\n",
        ],
        Certain,
    ),
    case(&["[ -d /nonexistent ] || return 0\nA=1\n", "GRUB_CMDLINE_LINUX=a\n"], Certain),
    // What cannot be told.
    case(&["GRUB_CMDLINE_LINUX=$(echo a)\n"], Uncertain),
    case(&["GRUB_CMDLINE_LINUX=`echo a`\n"], Uncertain),
    case(&["A=$(echo a)\nGRUB_CMDLINE_LINUX=\"x $A\"\n"], Uncertain),
    case(&["GRUB_CMDLINE_LINUX=a$((1+1))\n"], Uncertain),
    case(&["GRUB_CMDLINE_LINUX=$'a'\n"], Uncertain),
    case(&["GRUB_CMDLINE_LINUX=$\"a\"\n"], Uncertain),
    case(&["GRUB_CMDLINE_LINUX=~/a\n"], Uncertain),
    case(&["GRUB_CMDLINE_LINUX=a:~/b\n"], Uncertain),
    case(&["GRUB_CMDLINE_LINUX=a\nGRUB_CMDLINE_LINUX+=b\n"], Uncertain),
    case(&["GRUB_CMDLINE_LINUX_DEFAULT+=\" iommu=pt\"\n"], Uncertain),
    case(&["GRUB_CMDLINE_LINUX = a\n"], Uncertain),
    case(&["GRUB_CMDLINE_LINUX =a\n"], Uncertain),
    case(&["if true; then GRUB_CMDLINE_LINUX=a; fi\n"], Uncertain),
    case(&["if [ -d /sys ]; then GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX a\"; fi\n"], Uncertain),
    case(&["[ -d /etc ] && GRUB_CMDLINE_LINUX=a\n"], Uncertain),
    case(&["test -d /nonexistent || GRUB_CMDLINE_LINUX=a\n"], Uncertain),
    case(&["for X in a b; do GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX $X\"; done\n"], Uncertain),
    case(&["case a in a) GRUB_CMDLINE_LINUX=a ;; esac\n"], Uncertain),
    case(&["add() { GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX $1\"; }\nadd a\n"], Uncertain),
    case(&["add() { GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX a\"; }\n", "add\n"], Uncertain),
    case(&["eval 'GRUB_CMDLINE_LINUX=a'\n"], Uncertain),
    case(&[". /dev/null\nGRUB_CMDLINE_LINUX=a\n"], Uncertain),
    case(&["if [ -f /etc/hostname ]; then . /dev/null; fi\n"], Uncertain),
    case(&["read GRUB_CMDLINE_LINUX </etc/hostname\n"], Uncertain),
    case(&["readonly GRUB_CMDLINE_LINUX=a\n", "GRUB_CMDLINE_LINUX=b\n"], Uncertain),
    case(&["trap 'GRUB_CMDLINE_LINUX=b' EXIT\nGRUB_CMDLINE_LINUX=a\n"], Uncertain),
    case(&["alias f='GRUB_CMDLINE_LINUX=b'\nf\n"], Uncertain),
    case(&["GRUB_CMDLINE_LINUX=a\nexit 0\n"], Uncertain),
    case(&["GRUB_CMDLINE_LINUX=a\nfalse\nGRUB_CMDLINE_LINUX=b\n"], Uncertain),
    case(&["GRUB_CMDLINE_LINUX=(a b)\n"], Uncertain),
    case(&["GRUB_CMDLINE_LINUX[0]=a\n"], Uncertain),
    case(&["GRUB_CMDLINE_LINUX=\"a\n"], Uncertain),
    case(&["GRUB_CMDLINE_LINUX='a\n"], Uncertain),
    case(&["GRUB_CMDLINE_LINUX=a\nif true\n"], Uncertain),
    case(&["GRUB_CMDLINE_LINUX=a\nfi\n"], Uncertain),
    case(&["GRUB_CMDLINE_LINUX=a )\n"], Uncertain),
    case(&["GRUB_CMDLINE_LINUX=${A/x/y}\n"], Uncertain),
    case(&["B=${A:0:3}\nGRUB_CMDLINE_LINUX=a\n"], Uncertain),
    case(&["GRUB_CMDLINE_LINUX=${A:?unset}\n"], Uncertain),
    case(&["GRUB_CMDLINE_LINUX=$1 A=$#\n"], Uncertain),
    case(&["GRUB_CMDLINE_LINUX=a\nset -f\n"], Uncertain),
    case(&["X='GRUB_CMDLINE_LINUX=a'; $X\n"], Uncertain),
    case(&["cat <<EOF >/dev/null\n${GRUB_CMDLINE_LINUX:=a}\nEOF\n"], Uncertain),
    case(&["A=$((GRUB_CMDLINE_LINUX=3))\n"], Uncertain),
    case(&["[ -d /etc ] && return 0\nGRUB_CMDLINE_LINUX=a\n"], Uncertain),
    case(&["sysconfdir=/tmp\nGRUB_CMDLINE_LINUX=a\n"], Uncertain),
    case(&["\u{feff}GRUB_CMDLINE_LINUX=a\n"], Uncertain),
    case(&["while read X; do GRUB_CMDLINE_LINUX=$X; done </etc/hostname\n"], Uncertain),
    case(&["declare GRUB_CMDLINE_LINUX=a\n"], Uncertain),
    case(&["command eval GRUB_CMDLINE_LINUX=a\n"], Uncertain),
    case(&["printf -v GRUB_CMDLINE_LINUX a\n"], Uncertain),
    case(&["function f { GRUB_CMDLINE_LINUX=a; }\n"], Uncertain),
];
