//! Entries written by hand.

use super::LoaderEntries;
use crate::boot::BootChain;
use crate::boot::tests::{host, wish};

#[test]
fn each_entry_is_edited_and_what_one_of_them_had_is_not_ours() {
    let a = ("/boot/loader/entries/a.conf", "linux /a\noptions root=x iommu=pt\n");
    let b = ("/efi/loader/entries/b+3.conf", "linux /b\noptions root=x\n");
    let mut host = host(&[a, b]);
    let edits = wish(&LoaderEntries, &mut host, &["iommu=pt", "c"], &[], &[]).unwrap();
    assert_eq!(edits.steps.len(), 2);
    assert_eq!(edits.ours, ["c".parse().unwrap()]);
    let lines = LoaderEntries.persisted(&LoaderEntries.sources(&host).unwrap()).unwrap().lines;
    assert!(lines.iter().all(|line| line.args().len() == 3), "{lines:?}");
}

#[test]
fn no_entry_is_a_reason_to_refuse() {
    let sources = LoaderEntries.sources(&host(&[("/boot/loader/entries/w.conf", "efi /w.efi\n")])).unwrap();
    assert_eq!(sources.refused[0].code, "entries-missing");
}
