//! Single files.

use std::path::Path;

use super::{Form, Held, Holder, edited, first_line, options, whole};
use crate::boot::conform::Demand;
use crate::boot::shell_files::Words;
use crate::boot::tests::args;
use crate::boot::{Sources, Wish};
use crate::plan::{Bytes, FileState};

fn after(
    read: fn(&[u8]) -> Vec<Held>,
    text: &str,
    present: &[&str],
    absent: &[&str],
) -> Result<String, String> {
    let path = Path::new("/x");
    let mut sources = Sources { files: vec![(path.to_owned(), FileState::Absent)], ..Sources::default() };
    sources.seeds.insert(path.to_owned(), Bytes::from(text));
    let (present, absent) = (args(present), args(absent));
    let demand = Demand::of(&Wish { present: &present, absent: &absent, gone: &[] });
    let holder = Holder::of(&sources, path, Form { read, words: Words::Kernel }).unwrap();
    let (text, _) = edited(&holder, &demand, None).map_err(|objection| objection.chain[0].text.clone())?;
    sources.seeds.insert(path.to_owned(), Bytes::from(text.clone()));
    let holder = Holder::of(&sources, path, Form { read, words: Words::Kernel }).unwrap();
    assert_eq!(edited(&holder, &demand, None).unwrap().0, text, "the second time nothing changes");
    Ok(String::from_utf8(text).unwrap())
}

#[test]
fn every_other_byte_stays() {
    let entry = "title x\r\noptions  root=a   ro quiet \r\n# options no\noptions b=0 -- c\nlinux /v";
    let expected = "title x\r\noptions  root=a   ro \r\n# options no\noptions b=1 iommu=pt -- c\nlinux /v";
    assert_eq!(after(options, entry, &["b=1", "iommu=pt"], &["quiet"]).unwrap(), expected);
    assert_eq!(after(options, "linux /v", &["a"], &[]).unwrap(), "linux /v\noptions a\n");
    assert_eq!(after(options, "options\nlinux /v\n", &["a"], &[]).unwrap(), "options a\nlinux /v\n");
    assert_eq!(after(options, "options a\nlinux /v\n", &[], &["a"]).unwrap(), "options \nlinux /v\n");
}

#[test]
fn files_with_the_line_alone() {
    assert_eq!(
        after(whole, "# c\nroot=a\nro\n", &["b", "a=\"x y\""], &[]).unwrap(),
        "# c\nroot=a\nro b a=\"x y\"\n"
    );
    assert_eq!(after(whole, "root=a", &["b"], &[]).unwrap(), "root=a b");
    assert_eq!(after(whole, "", &["b"], &[]).unwrap(), "b\n");
    assert_eq!(after(whole, "# c", &["b"], &[]).unwrap(), "# c\nb\n");
    assert_eq!(after(first_line, "root=a ro\nb\n", &["b"], &[]).unwrap(), "root=a ro b\nb\n");
    assert_eq!(
        after(whole, "hugepagesz=2M hugepages=4\n", &["hugepagesz=2M", "hugepages=8"], &[]).unwrap(),
        "hugepagesz=2M hugepages=8\n"
    );
}

#[test]
fn what_cannot_be_told_or_passed_is_refused() {
    assert!(after(whole, "a=\"b", &["c"], &[]).is_err(), "an open quote swallows what is added");
    assert!(after(whole, "a", &["c=\"x  y\""], &[]).unwrap_err().contains("squeeze"));
}
