use proptest::prelude::*;

use super::*;

fn config(files: &[(&str, &str)], cmdline: &str) -> Config {
    let file =
        |(path, text): &(&str, &str)| FileOfConfig { path: (*path).into(), bytes: text.as_bytes().to_vec() };
    Config::new(files.iter().map(file).collect(), Some(cmdline.as_bytes()))
}

fn only(text: &str) -> Content {
    let [line] = <[Line<'_>; 1]>::try_from(lines(text.as_bytes())).unwrap();
    line.content
}

#[test]
fn lines_join_and_escapes_go() {
    let found = lines(b"options a\\\n b=1\nblack\\list c\n# x \\\nblacklist d\n");
    let numbers: Vec<u32> = found.iter().map(|line| line.number).collect();
    assert_eq!(numbers, [1, 3, 4]);
    assert_eq!(
        found[0].content,
        Content::Directive(Directive::Options { module: "a".into(), arguments: "b=1".into() })
    );
    assert_eq!(found[1].content, Content::Directive(Directive::Blacklist { module: "c".into() }));
    assert_eq!(found[2].content, Content::Comment);
}

#[test]
fn what_kmod_drops_is_told_apart() {
    for (text, why) in [
        ("  # x", Dropped::IndentedComment),
        ("include /etc/x", Dropped::Deprecated),
        ("blacklst x", Dropped::UnknownDirective),
        ("blacklist", Dropped::Incomplete),
        ("options x", Dropped::Incomplete),
        ("alias x", Dropped::Incomplete),
        ("blacklist x]", Dropped::UnbalancedBracket),
        ("options x[ y", Dropped::UnbalancedBracket),
    ] {
        assert_eq!(only(text), Content::Dropped(why), "{text}");
    }
}

#[test]
fn softdeps_are_cut_as_kmod_cuts_them() {
    let cut = |text: &str| match only(text) {
        Content::Directive(Directive::Softdep(softdep)) => (softdep.pre.join(" "), softdep.post.join(" ")),
        other => panic!("{other:?}"),
    };
    assert_eq!(cut("softdep a-b pre: c-d e post: f"), ("c-d e".into(), "f".into()));
    assert_eq!(cut("softdep a  pre: x"), (String::new(), String::new()), "the blank is part of the word");
    assert_eq!(cut("softdep a   pre: x"), ("x".into(), String::new()));
    assert_eq!(cut("softdep a x pre: y"), ("y".into(), String::new()));
}

#[test]
fn files_are_read_by_name_and_the_command_line_last() {
    let config = config(
        &[
            ("/etc/modprobe.d/z.conf", "options vfio-pci ids=1:1\n"),
            ("/lib/modprobe.d/a.conf", "\noptions vfio_pci ids=2:2 x\n"),
        ],
        "vfio-pci.ids=3:3 modprobe.blacklist=a-b,c",
    );
    let module = "vfio-pci".parse().unwrap();
    let settings: Vec<String> =
        config.options(&module).map(|s| format!("{} {:?} {}", s.parameter, s.value, s.origin)).collect();
    assert_eq!(
        settings,
        [
            "ids Some(\"2:2\") /lib/modprobe.d/a.conf:2",
            "x None /lib/modprobe.d/a.conf:2",
            "ids Some(\"1:1\") /etc/modprobe.d/z.conf:1",
            "ids Some(\"3:3\") /proc/cmdline",
        ]
    );
    assert_eq!(config.blacklisted(&"a-b".parse().unwrap()).count(), 0, "written with a hyphen");
    assert_eq!(config.blacklisted(&"c".parse().unwrap()).count(), 1);
}

#[test]
fn the_first_softdep_counts() {
    let config = config(
        &[("a.conf", "softdep nou* pre: mxm-wmi\n"), ("zz.conf", "softdep nouveau pre: vfio-pci\n")],
        "",
    );
    let (_, softdep) = config.softdep(&"nouveau".parse().unwrap()).unwrap();
    assert_eq!(softdep.pre, ["mxm-wmi"]);
}

proptest! {
    #[test]
    fn lines_are_the_file(bytes in proptest::collection::vec(prop_oneof![
        Just(b'\\'), Just(b'\n'), Just(b' '), Just(b'#'), Just(b'['), Just(0), any::<u8>()
    ], 0..200)) {
        let rendered: Vec<u8> = lines(&bytes).iter().flat_map(|line| line.raw).copied().collect();
        prop_assert_eq!(rendered, bytes);
    }

    #[test]
    fn any_command_line_is_read(text in ".{0,200}") {
        let _ = Config::new(Vec::new(), Some(text.as_bytes()));
    }
}
