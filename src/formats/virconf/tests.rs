use proptest::prelude::*;

use super::*;

const ACL: &str = "cgroup_device_acl";

fn list(text: &str) -> Option<Vec<String>> {
    let conf = VirConf::parse(text.as_bytes()).unwrap();
    let strings = conf.get(ACL)?.value.strings()?;
    Some(strings.into_iter().map(|bytes| String::from_utf8(bytes).unwrap()).collect())
}

fn edited(text: &str, gone: &[&str], added: &[&str]) -> String {
    let conf = VirConf::parse(text.as_bytes()).unwrap();
    let keep =
        |value: &Value| !matches!(value, Value::String(bytes) if gone.iter().any(|g| g.as_bytes() == bytes));
    String::from_utf8(conf.with_elements(ACL, keep, added).unwrap().unwrap()).unwrap()
}

fn inserted(text: &str) -> String {
    String::from_utf8(
        VirConf::parse(text.as_bytes()).unwrap().with_list(ACL, &["/dev/null", "/dev/x"]).unwrap(),
    )
    .unwrap()
}

fn without(text: &str) -> String {
    String::from_utf8(VirConf::parse(text.as_bytes()).unwrap().without(ACL)).unwrap()
}

#[test]
fn a_mistake_anywhere_names_its_line() {
    let error = VirConf::parse(b"a = 1\n\nb = [\n  \"x\", # why\n]\n").unwrap_err();
    assert_eq!(error, SyntaxError { line: 4, problem: "expecting a value" });
    assert_eq!(VirConf::parse(&b"[".repeat(1_000_000)).unwrap_err().problem, "expecting a name");
    let nested = [b"a=".to_vec(), b"[".repeat(1_000_000)].concat();
    assert_eq!(VirConf::parse(&nested).unwrap_err().problem, "lists are nested too deeply");
}

#[test]
fn the_first_of_several_counts() {
    let text = "cgroup_device_acl = [\"a\"]\ncgroup_device_acl = [\"b\"]\n";
    assert_eq!(list(text), Some(vec!["a".to_owned()]));
    assert_eq!(edited(text, &["a"], &["c"]), "cgroup_device_acl = [\"c\"]\ncgroup_device_acl = [\"b\"]\n");
    assert_eq!(without(text), "cgroup_device_acl = [\"b\"]\n");
}

#[test]
fn elements_follow_the_layout_that_is_there() {
    let one = "cgroup_device_acl = [ \"a\", \"b\" ]";
    assert_eq!(edited(one, &[], &["c"]), "cgroup_device_acl = [ \"a\", \"b\", \"c\" ]");
    assert_eq!(edited(one, &["a"], &[]), "cgroup_device_acl = [ \"b\" ]");
    assert_eq!(edited(one, &["a", "b"], &[]), "cgroup_device_acl = [  ]");
    let lines = "cgroup_device_acl = [\r\n\t\"a\",\r\n\t\"b\",\r\n]\r\n";
    assert_eq!(
        edited(lines, &[], &["c"]),
        "cgroup_device_acl = [\r\n\t\"a\",\r\n\t\"b\",\r\n\t\"c\",\r\n]\r\n"
    );
    assert_eq!(edited(lines, &["a", "b"], &[]), "cgroup_device_acl = [\r\n\t\r\n]\r\n");
    assert_eq!(edited("cgroup_device_acl = []", &[], &["c", "d"]), "cgroup_device_acl = [\"c\", \"d\"]");
    // Several on a line, as the administration guides write it.
    let guide = "cgroup_device_acl = [\n\"a\", \"b\",\n\"c\", \"d\"\n\n]\n";
    assert_eq!(edited(guide, &["b"], &["e"]), "cgroup_device_acl = [\n\"a\",\n\"c\", \"d\",\n\"e\"\n\n]\n");
}

#[test]
fn a_new_setting_follows_its_commented_default() {
    let text =
        "a = 1\n# about it\n#cgroup_device_acl = [\n#    \"/dev/null\", \"/dev/zero\"\n#]\n# more\nb = 2\n";
    let conf = VirConf::parse(text.as_bytes()).unwrap();
    let default = conf.commented_list(ACL).unwrap();
    assert_eq!(default, [b"/dev/null".to_vec(), b"/dev/zero".to_vec()]);
    let block = "cgroup_device_acl = [\n    \"/dev/null\",\n    \"/dev/x\"\n]\n";
    assert_eq!(inserted(text), text.replace("# more", &format!("{block}# more")));
    assert_eq!(without(&inserted(text)), text);
    for unfinished in [
        "#cgroup_device_acl = [\n#\"a\",\nb=1\n#]\n",
        "# cgroup_device_acl is a list [ ]\n",
        "#cgroup_device_acl = [\n",
    ] {
        assert_eq!(VirConf::parse(unfinished.as_bytes()).unwrap().commented_list(ACL), None, "{unfinished}");
        assert_eq!(without(&inserted(unfinished)), unfinished);
    }
}

#[test]
fn a_statement_goes_with_its_lines_and_nothing_else() {
    for (text, rest) in [
        ("a=1\ncgroup_device_acl=[]\nb=1\n", "a=1\nb=1\n"),
        ("cgroup_device_acl=[] # mine\nb=1\n", "b=1\n"),
        ("a=1; cgroup_device_acl=[]; b=1\n", "a=1; b=1\n"),
        ("a=1; cgroup_device_acl=[] # all\n", "a=1;  # all\n"),
        ("cgroup_device_acl=[]; b=1\n", "b=1\n"),
        ("a=1\r\n  cgroup_device_acl=[\r\n]\t;\r\nb=1", "a=1\r\nb=1"),
        ("cgroup_device_acl=[]", ""),
        ("\n\ncgroup_device_acl=[]\n\n", ""),
    ] {
        assert_eq!(without(text), rest, "{text:?}");
        assert!(VirConf::parse(rest.as_bytes()).is_ok(), "{rest:?}");
    }
}

#[test]
fn what_cannot_be_quoted_is_an_error() {
    let conf = VirConf::parse(b"").unwrap();
    assert!(conf.with_list(ACL, &["it's"]).is_ok());
    assert!(conf.with_list(ACL, &["say \"so\""]).is_ok());
    for text in ["it's \"so\"", "a\nb", "a\rb", "a\0b"] {
        assert_eq!(conf.with_list(ACL, &[text]), Err(Unquotable(text.to_owned())));
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_kept_or_rejected(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(conf) = VirConf::parse(&bytes) {
            prop_assert_eq!(conf.as_bytes(), &bytes[..]);
            let inserted = conf.with_list("zz", &["x"]).unwrap();
            let again = VirConf::parse(&inserted).unwrap();
            prop_assert_eq!(again.without("zz"), bytes.clone());
            prop_assert_eq!(conf.without("no_such_name"), bytes.clone());
        }
    }

    #[test]
    fn comments_and_values_of_any_bytes_survive(
        comment in "[^\n\r]*", value in "[^\n\r\"]*", eol in prop::sample::select(vec!["\n", "\r\n"]), last in any::<bool>()
    ) {
        let end = if last { eol } else { "" };
        let text = format!("#{comment}{eol}a = \"{value}\" #{comment}{eol}cgroup_device_acl = [\"a\"]{eol}#{comment}{end}");
        let added = edited(&text, &[], &["b", "c"]);
        prop_assert_eq!(edited(&added, &["b", "c"], &[]), text);
    }
}
