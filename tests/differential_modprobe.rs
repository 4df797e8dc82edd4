//! modprobe.d as reconcile reads it against `modprobe --showconfig` of the installed kmod.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
// A helper of a test fails as the test does: by a panic that says why.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod kmod;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use kmod::{Dice, Tree, require};
use reconcile::formats::modprobe::{Config, Directive, FileOfConfig};
use reconcile::host::kmod::modprobe_config;
use reconcile::host::{Machine, Reach};

const MODPROBE: &str = "/sbin/modprobe";

/// What `modprobe --showconfig` would print, each line with the texts that stand for it: older versions leave out
/// the blank between the halves of a soft dependency.
fn shown(config: &Config) -> Vec<[String; 2]> {
    let mut sections: [Vec<[String; 2]>; 6] = Default::default();
    for (_, directive) in config.entries() {
        let (section, line) = match directive {
            Directive::Blacklist { module } => (0, format!("blacklist {module}")),
            Directive::Install { module, command } => (1, format!("install {module} {command}")),
            Directive::Remove { module, command } => (2, format!("remove {module} {command}")),
            Directive::Alias { alias, module } => (3, format!("alias {alias} {module}")),
            Directive::Options { module, arguments } => (4, format!("options {module} {arguments}")),
            Directive::Softdep(softdep) => {
                let half = |name: &str, modules: &[String]| {
                    if modules.is_empty() { String::new() } else { format!("{name}: {}", modules.join(" ")) }
                };
                let (pre, post) = (half("pre", &softdep.pre), half("post", &softdep.post));
                let blank = if pre.is_empty() || post.is_empty() { "" } else { " " };
                let line = |blank| format!("softdep {} {pre}{blank}{post}", softdep.module);
                sections[5].push([line(blank), line("")]);
                continue;
            }
            // Printed by kmod 33 and later only.
            Directive::Weakdep { .. } => continue,
        };
        sections[section].push([line.clone(), line]);
    }
    sections.into_iter().flatten().collect()
}

/// The lines that kmod prints before the indexes.
fn printed(output: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(output).into_owned();
    let (config, _) =
        text.split_once("\n# End of configuration files").expect("modprobe prints its configuration");
    config.split_terminator('\n').filter(|line| !line.starts_with("weakdep ")).map(str::to_owned).collect()
}

fn compare(case: &str, ours: &Config, output: &[u8]) {
    let theirs = printed(output);
    // A quoted value of the command line may hold a line end.
    let split = |[new, old]: [String; 2]| -> Vec<[String; 2]> {
        let pairs = new.split('\n').zip(old.split('\n'));
        pairs.map(|(new, old)| [new.to_owned(), old.to_owned()]).collect()
    };
    let ours: Vec<[String; 2]> = shown(ours).into_iter().flat_map(split).collect();
    let same =
        ours.len() == theirs.len() && ours.iter().zip(&theirs).all(|(ours, theirs)| ours.contains(theirs));
    assert!(same, "{case}:\n  ours   {ours:#?}\n  kmod's {theirs:#?}");
}

/// One file in one directory, with the machine's own command line behind it.
fn check_file(case: &str, text: &[u8]) {
    let directory = tempfile::tempdir().unwrap();
    let path: PathBuf = directory.path().join("a.conf");
    fs::write(&path, text).unwrap();
    let output = Command::new(MODPROBE).arg("--showconfig").arg("-C").arg(directory.path()).output().unwrap();
    let command_line = fs::read("/proc/cmdline").unwrap();
    let config = Config::new(vec![FileOfConfig { path, bytes: text.to_vec() }], Some(&command_line));
    compare(case, &config, &output.stdout);
}

/// A whole tree.
fn check_tree(case: &str, tree: &Tree) {
    let output = tree.run("modprobe --showconfig");
    assert!(output.status.success(), "{case}: {}", String::from_utf8_lossy(&output.stderr));
    let host = Machine::open(tree.root(), Reach::Tree).unwrap();
    compare(case, &modprobe_config(&host).unwrap(), &output.stdout);
}

#[test]
fn lines_are_read_as_kmod_reads_them() {
    require(MODPROBE, "kmod");
    let long = format!("options long a={}\nblacklist behind\n", "x,".repeat(40_000));
    let wide = format!("{}blacklist far\n", " ".repeat(300));
    let cases: &[&[u8]] = &[
        b"",
        b"\n\n \t \n",
        b"blacklist nouveau",
        b"blacklist nouveau\nblacklist nouveau\n",
        b"blacklist lbm-nouveau # trailing words do not matter\n",
        b"blacklist a b c\n",
        b"blacklist\n",
        b"# blacklist a\n#blacklist b\n",
        b"  # blacklist a\n\t#blacklist b\n",
        b"  blacklist indented\n\tblacklist tabbed\n",
        b"blacklist\tx\noptions\ty\tz=1\ta\n",
        b"options vfio-pci ids=10de:11bf,10de:0e0a\n",
        b"options vfio-pci ids=1:1 # a comment\n",
        b"options a\noptions b \noptions c  \noptions d\t\n",
        b"options a x=\"1 2\" y='3 4'\n",
        b"options a x=1 \\\n  y=2 \\\n z=3\n",
        b"options a x=1\\\ny=2\n",
        b"# comment \\\nblacklist eaten\nblacklist b\n",
        b"black\\list escaped\n\\#not a comment\nblacklist a\\ b\n",
        b"options a b\\\\c\\n\\\"\n",
        b"\\\n\\\n\\\nblacklist joined\n",
        b"alias nouveau off\nalias lbm-nouveau off\n",
        b"alias pci:v000010DEd*sv*sd*bc03sc00i* a-b\n",
        b"alias a-[b-c]-d e-f\nalias x-[0-9] y\n",
        b"alias a] b\nalias a b]\nalias [a b\nalias a [b\n",
        b"alias []-] x\nalias [[] x\nalias a[b]c]d x\n",
        b"alias a\nalias\nalias a b c\n",
        b"blacklist a[b\noptions a[b c\nsoftdep a] pre: x\n",
        b"install nouveau /bin/false\nremove nouveau /sbin/modprobe -r --ignore-remove nouveau\n",
        b"install a   spaced   out  \ninstall b\ninstall c \nremove d\n",
        b"install x-y /sbin/modprobe --ignore-install x-y $CMDLINE_OPTS && { echo a; }\n",
        b"softdep nouveau pre: vfio-pci\nsoftdep snd-hda-intel pre: vfio-pci vfio_pci post: a-b\n",
        b"softdep a  pre: x\nsoftdep b\tpre: x  y\nsoftdep c pre: x   post: y  \nsoftdep d   pre: x\n",
        b"softdep e pre:x\nsoftdep f pre: \rx\nsoftdep g post: x post: y pre: z\nsoftdep h\nsoftdep i \n",
        b"softdep a pre: post: pre:\nsoftdep b words pre: x\nsoftdep c \t pre: x\n",
        b"softdep a pre: x\x0by\x0cz post:\tq\n",
        b"include /etc/modprobe.d/x\nconfig x\nweakdep a b\nblacklist b\n",
        b"BLACKLIST a\nBlacklist b\noption a b=1\nblacklist-x y\n",
        b"options crlf a=1\r\nblacklist crlf\r\nalias a b\r\n\r\n",
        b"\xef\xbb\xbfblacklist bom\nblacklist b\n",
        b"options a b\0c\nblacklist x\0y\nblack\0list z\n\0blacklist q\nblacklist r\n",
        b"options a x\\\0y\nblacklist b\n",
        b"options a \xff\xfe=\xc3\xa4\nblacklist \xc3\xbc-x\n",
        b"options a-b c-d=e-f\noptions -a- x\nblacklist -\n",
        b"options a b=1\x0bc=2\x0c\x08\n",
        b"#\n#\n\\\\\nblacklist a\n",
        long.as_bytes(),
        wide.as_bytes(),
    ];
    assert!(cases.len() >= 40);
    for case in cases {
        check_file(&String::from_utf8_lossy(&case[..case.len().min(120)]), case);
    }
}

#[test]
fn directories_mask_and_sort_as_in_kmod() {
    require(MODPROBE, "kmod");
    type Case = (&'static str, &'static [(&'static str, &'static str)]);
    let cases: &[Case] = &[
        ("nothing", &[]),
        ("same name", &[("etc:a.conf", "blacklist e\n"), ("usr/lib:a.conf", "blacklist u\n")]),
        (
            "every directory",
            &[
                ("usr/lib:a.conf", "blacklist u\n"),
                ("usr/local/lib:a.conf", "blacklist l\n"),
                ("run:a.conf", "blacklist r\n"),
                ("usr/lib:b.conf", "blacklist u2\n"),
                ("usr/local/lib:b.conf", "blacklist l2\n"),
                ("usr/lib:c.conf", "blacklist u3\n"),
            ],
        ),
        (
            "order by name",
            &[
                ("etc:z.conf", "options v ids=z\n"),
                ("usr/lib:a.conf", "options v ids=a\n"),
                ("run:M.conf", "options v ids=M\n"),
                ("usr/local/lib:10.conf", "options v ids=10\n"),
                ("etc:9.conf", "options v ids=9\n"),
                ("etc:_.conf", "options v ids=_\n"),
                ("etc:a-b.conf", "options v ids=a-b\n"),
                ("etc:a.b.conf", "options v ids=a.b\n"),
            ],
        ),
        (
            "names",
            &[
                ("etc:a.conf~", "blacklist no1\n"),
                ("etc:a.conf.bak", "blacklist no2\n"),
                ("etc:.a.conf", "blacklist no3\n"),
                ("etc:.conf", "blacklist no4\n"),
                ("etc:a.CONF", "blacklist no5\n"),
                ("etc:a", "blacklist no6\n"),
                ("etc:a.conf.dpkg-old", "blacklist no7\n"),
                ("etc:conf", "blacklist no8\n"),
                ("etc:x.alias", "blacklist yes1\n"),
                ("etc: .conf", "blacklist yes2\n"),
                ("etc:a b.conf", "blacklist yes3\n"),
                ("etc:#.conf", "blacklist yes4\n"),
            ],
        ),
        ("an empty file masks", &[("etc:a.conf", ""), ("usr/lib:a.conf", "blacklist u\n")]),
    ];
    for (name, files) in cases {
        let tree = Tree::new("modprobe.d", "quiet");
        for (file, text) in *files {
            tree.put(file, text.as_bytes());
        }
        check_tree(name, &tree);
    }

    let tree = Tree::new("modprobe.d", "");
    // What a dangling link does depends on what kmod 30 finds in uninitialised memory: it is no case here.
    for name in ["null", "directory", "linked"] {
        tree.put(&format!("usr/lib:{name}.conf"), format!("blacklist {name}\n").as_bytes());
    }
    tree.put("etc:target", b"blacklist target\n");
    tree.link("etc:null.conf", "/dev/null");
    tree.directory("etc:directory.conf");
    tree.link("etc:linked.conf", "target");
    tree.link("etc:linked-directory.conf", "directory.conf");
    tree.put("usr/lib:linked-directory.conf", b"blacklist behind_a_linked_directory\n");
    check_tree("links and directories", &tree);
}

#[test]
fn the_command_line_is_read_as_kmod_reads_it() {
    require(MODPROBE, "kmod");
    for command_line in [
        "",
        "\n",
        "quiet splash root=/dev/sda1",
        "vfio-pci.ids=10de:11bf,10de:0e0a vfio_pci.disable_vga=1",
        "modprobe.blacklist=nouveau,snd-hda-intel,,x modprobe.blacklist= modprobe.blacklist",
        "modprobe.blacklist=\"a,b\" \"modprobe.blacklist=c d\"",
        "a.b.c=1 a.b=c.d a=b.c .a=1 a.=1 .=1 a.b= a.b",
        "\"l.m=n o\" p.q=\"r s\" t.\"u=v\" w\"x.y=z\" \"q.w\" \"a.b c\" \"a.b=c\"d=e",
        "x.y=\"never closed z.q=1",
        "  x.y=1\tz.q=2 \x0b a.b=3 \n c.d=4",
        "rd.driver.blacklist=x rd.luks=1 -- init.arg=1",
        "drm.edid=a:b,c -.x=1 a-b.c-d=e-f a[-b].c=1 a].b=1",
        "modprobe.blacklist=a b modprobe-x.y=1 modprobe.other=2",
        "x=1.2.3 y.z=\"a\"b\"c d\" e",
        "\"\"a.b=1 \" x.y=1",
    ] {
        let tree = Tree::new("modprobe.d", command_line);
        tree.put("etc:a.conf", b"options vfio-pci ids=1:1\nblacklist z\n");
        check_tree(command_line, &tree);
    }
}

/// Lines made of pieces that matter.
fn scrambled(dice: &mut Dice) -> Vec<u8> {
    const PIECES: [&str; 44] = [
        "alias",
        "blacklist",
        "options",
        "install",
        "remove",
        "softdep",
        "weakdep",
        "include",
        "pre:",
        "post:",
        "off",
        "#",
        " ",
        " ",
        " ",
        "  ",
        "\t",
        "\n",
        "\n",
        "\n",
        "\\\n",
        "\\",
        "\\\\",
        "\r\n",
        "\r",
        "[",
        "]",
        "[a-z]",
        "-",
        "_",
        "a-b",
        "vfio-pci",
        "ids=1:2",
        "x=\"a b\"",
        "=",
        "*",
        "?",
        "\0",
        "\x0b",
        "é",
        ":",
        "a",
        "b",
        "nouveau",
    ];
    let pieces = 2 + dice.below(60);
    let mut text: String = (0..pieces).map(|_| dice.pick(&PIECES)).collect();
    // What a lone backslash at the very end means differs between versions of kmod.
    text.push('\n');
    text.into_bytes()
}

#[test]
fn scrambled_files_are_read_as_kmod_reads_them() {
    require(MODPROBE, "kmod");
    for seed in 1..=400 {
        let text = scrambled(&mut Dice::new(seed));
        check_file(&format!("seed {seed}: {:?}", String::from_utf8_lossy(&text)), &text);
    }
}

#[test]
fn scrambled_trees_are_read_as_kmod_reads_them() {
    require(MODPROBE, "kmod");
    const ARGUMENTS: [&str; 20] = [
        " ",
        " ",
        " ",
        "\"",
        ".",
        "=",
        ",",
        "-",
        "a",
        "b-c",
        "modprobe.blacklist=",
        "vfio-pci.ids=",
        "x.y=",
        "\t",
        "\n",
        "d.e",
        "\"f.g=h i\"",
        "j=k.l",
        "[",
        "]",
    ];
    for seed in 1..=40 {
        let mut dice = Dice::new(seed);
        let words = dice.below(30);
        let command_line: String = (0..words).map(|_| dice.pick(&ARGUMENTS)).collect();
        let tree = Tree::new("modprobe.d", &command_line);
        for _ in 0..dice.below(12) {
            let parent = dice.pick(&["etc", "run", "usr/local/lib", "usr/lib"]);
            let name = dice
                .pick(&["a.conf", "b.conf", "zz.conf", ".c.conf", "c.conf~", "d.alias", "B.conf", "a-.conf"]);
            tree.put(&format!("{parent}:{name}"), &scrambled(&mut dice));
        }
        check_tree(&format!("seed {seed}: {command_line:?}"), &tree);
    }
}
