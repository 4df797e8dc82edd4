//! zipl.conf.

use std::path::Path;

use super::Zipl;
use crate::boot::BootChain;
use crate::boot::tests::{host, wish};
use crate::host::ReadHost;

fn edited(conf: &str, present: &[&str]) -> Result<String, String> {
    let mut host = host(&[("/etc/zipl.conf", conf)]);
    wish(&Zipl, &mut host, present, &[], &[]).map_err(|objection| objection.chain[0].code.to_string())?;
    Ok(host.text(Path::new("/etc/zipl.conf")).unwrap().unwrap())
}

#[test]
fn values_are_edited_inside_their_quotes() {
    for (before, after) in [
        ("parameters=\"root=a\"", "parameters=\"root=a b\""),
        (" parameters = 'root=a' ", " parameters = 'root=a b' "),
        ("parameters=root=a ro", "parameters=root=a ro b"),
        ("parameters=\"\"", "parameters=\"b\""),
    ] {
        let conf = |line: &str| format!("[linux]\nimage=/v\n{line}\n[dump]\ndumpto=/x");
        assert_eq!(edited(&conf(before), &["b"]).unwrap(), conf(after));
    }
}

#[test]
fn quotes_do_not_nest() {
    let refused = edited("[linux]\nimage=/v\nparameters=\"root=a\"\n", &["a=\"b c\""]);
    assert_eq!(refused, Err("argument-unaddable".to_owned()));
    let broken = Zipl.sources(&host(&[("/etc/zipl.conf", "[l]\nimage=/v\nparameters=\"a\" b\n")])).unwrap();
    assert_eq!(broken.refused[0].code, "parameters-missing");
}
