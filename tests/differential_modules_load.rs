//! modules-load.d as reconcile reads it against the installed systemd-modules-load, which finds no module to load.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
// A helper of a test fails as the test does: by a panic that says why.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod kmod;

use kmod::{Dice, Tree, require};
use reconcile::host::kmod::loaded_at_boot;
use reconcile::host::{Machine, Reach};

const PROGRAM: &str = "/lib/systemd/systemd-modules-load";

fn check(case: &str, tree: &Tree) {
    let command =
        format!("env SYSTEMD_LOG_LEVEL=debug SYSTEMD_LOG_TARGET=console SYSTEMD_PROC_CMDLINE= {PROGRAM}");
    let output = tree.run(&command);
    let log = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let tried = |line: &str| line.strip_prefix("Loading module: ").map(str::to_owned);
    let theirs: Vec<String> = log.split('\n').filter_map(tried).collect();
    let host = Machine::open(tree.root(), Reach::Tree).unwrap();
    let ours: Vec<String> = loaded_at_boot(&host).unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(ours, theirs, "{case}\n{log}");
}

#[test]
fn files_are_read_as_systemd_reads_them() {
    require(PROGRAM, "systemd");
    let long = format!("{}\nshort\n", "x".repeat(1500));
    let cases: &[&[u8]] = &[
        b"",
        b"\n\n",
        b"vfio",
        b"vfio\nvfio_pci\n",
        b"vfio-pci\n",
        b"vfio\nvfio\n",
        b"# vfio\n;vfio\n  # vfio\n\t;vfio\n",
        b"vfio # comment\n",
        b"vfio ; comment\n",
        b"vfio_pci ids=10de:11bf\n",
        b"  vfio  \n\tkvm\t\n",
        b"vfio\r\nkvm\r\n",
        b"vfio\rkvm\n",
        b"vfio\n\rkvm\n\r\n\rx\n",
        b"vfio\0kvm\n",
        b"\0\0vfio\0\0\n",
        b"a\0\nb\r\0c\n\0d",
        b"vfio\\\nkvm\n",
        b"\"vfio\"\n'kvm'\n",
        b"vfio,kvm\n",
        b"pci:v000010DEd*\n",
        b"\xc3\xa4\n",
        b"\x0bvfio\x0c\n",
        b"#\n;\n#\\\nvfio\n",
        b"a#b\na;b\n",
        b"-\n_\n.\n",
        b"/lib/modules/x.ko\n",
        b"vfio.ko\n",
        b"  \t \n \t#x\n",
        b"[section]\nkey=value\n",
        long.as_bytes(),
    ];
    for case in cases {
        let tree = Tree::new("modules-load.d", "");
        tree.put("etc:a.conf", case);
        check(&String::from_utf8_lossy(&case[..case.len().min(80)]), &tree);
    }
}

#[test]
fn directories_mask_and_sort_as_in_systemd() {
    require(PROGRAM, "systemd");
    let cases: &[&[(&str, &str)]] = &[
        &[],
        &[("etc:a.conf", "e\n"), ("usr/lib:a.conf", "u\n")],
        &[("run:a.conf", "r\n"), ("usr/local/lib:a.conf", "l\n"), ("usr/lib:a.conf", "u\n")],
        &[("usr/local/lib:a.conf", "l\n"), ("usr/lib:a.conf", "u\n")],
        &[
            ("etc:z.conf", "z\n"),
            ("usr/lib:a.conf", "a\n"),
            ("run:M.conf", "M\n"),
            ("usr/local/lib:10.conf", "t\n"),
        ],
        &[("etc:a-.conf", "1\n"), ("etc:a.conf", "2\n"), ("etc:a_.conf", "3\n"), ("etc:A.conf", "4\n")],
        &[("etc:a.conf~", "1\n"), ("etc:a.conf.bak", "2\n"), ("etc:.a.conf", "3\n"), ("etc:.conf", "4\n")],
        &[("etc:a", "1\n"), ("etc:a.CONF", "2\n"), ("etc:a.conf.dpkg-old", "3\n"), ("etc:conf", "4\n")],
        &[("etc:a.conf", ""), ("usr/lib:a.conf", "u\n")],
        &[("etc:a b.conf", "1\n"), ("etc:#.conf", "2\n"), ("etc: .conf", "3\n")],
    ];
    for files in cases {
        let tree = Tree::new("modules-load.d", "");
        for (file, text) in *files {
            tree.put(file, text.as_bytes());
        }
        check(&format!("{files:?}"), &tree);
    }

    let tree = Tree::new("modules-load.d", "");
    for name in ["null", "dangling", "directory", "linked"] {
        tree.put(&format!("usr/lib:{name}.conf"), format!("{name}\n").as_bytes());
    }
    tree.put("etc:target", b"target\n");
    tree.link("etc:null.conf", "/dev/null");
    tree.link("etc:dangling.conf", "/nonexistent/x");
    tree.directory("etc:directory.conf");
    tree.link("etc:linked.conf", "target");
    check("links and directories", &tree);
}

#[test]
fn scrambled_trees_are_read_as_systemd_reads_them() {
    require(PROGRAM, "systemd");
    const PIECES: [&str; 18] = [
        "vfio", "vfio-pci", "a", " ", " ", "\t", "\n", "\n", "\n", "\r", "\0", "#", ";", "\\", "\r\n", "=",
        "ä", "\x0b",
    ];
    for seed in 1..=40 {
        let mut dice = Dice::new(seed);
        let tree = Tree::new("modules-load.d", "");
        for _ in 0..1 + dice.below(8) {
            let parent = dice.pick(&["etc", "run", "usr/local/lib", "usr/lib"]);
            let name = dice.pick(&["a.conf", "b.conf", "zz.conf", ".c.conf", "c.conf~", "B.conf"]);
            let text: String = (0..dice.below(30)).map(|_| dice.pick(&PIECES)).collect();
            tree.put(&format!("{parent}:{name}"), text.as_bytes());
        }
        check(&format!("seed {seed}"), &tree);
    }
}
