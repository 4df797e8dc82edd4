//! Deployments.

use super::RpmOstree;
use crate::boot::BootChain;
use crate::boot::tests::{host, wish};
use crate::host::SimulatedHost;

const OLD: (&str, &str) =
    ("/boot/loader/entries/ostree-1-fedora.conf", "title old\nversion 1\noptions root=a b=0\nlinux /v\n");
const NEXT: (&str, &str) = (
    "/boot/loader/entries/ostree-2-fedora.conf",
    "title next\nversion 2\noptions root=a b=0 quiet console=tty0\nlinux /v\n",
);
const MARK: (&str, &str) = ("/run/ostree-booted", "");
const PROGRAM: (&str, &str) = ("/usr/bin/rpm-ostree", "");

fn machine(files: &[(&str, &str)]) -> SimulatedHost<'static> {
    let mut host = host(files);
    host.become_machine();
    host
}

#[test]
fn one_command_makes_the_deployment_that_has_them() {
    let mut host = machine(&[MARK, PROGRAM, OLD, NEXT]);
    let present = ["iommu=pt", "b=1", "console=ttyS0", "hugepagesz=1G", "hugepages=4"];
    let edits = wish(&RpmOstree, &mut host, &present, &["quiet"], &[]).unwrap();
    let commands: Vec<String> = edits.steps.iter().map(|step| step.target()).collect();
    assert_eq!(
        commands,
        ["rpm-ostree kargs --delete-if-present=quiet --delete-if-present=b=0 --append-if-missing=iommu=pt \
          --append-if-missing=b=1 --append-if-missing=console=ttyS0 --append=hugepagesz=1G --append=hugepages=4"]
    );
    let entries = RpmOstree.entries(&host).unwrap().unwrap();
    let args: Vec<String> = entries[0].args.iter().map(ToString::to_string).collect();
    assert_eq!(args.join(" "), "root=a console=tty0 iommu=pt b=1 console=ttyS0 hugepagesz=1G hugepages=4");
    assert_eq!(entries[1].title, "old");
    assert_eq!(wish(&RpmOstree, &mut host, &present, &["quiet"], &[]).unwrap().steps, []);
}

#[test]
fn what_cannot_be_changed_here_is_refused() {
    let refused = |host: &SimulatedHost<'_>| RpmOstree.sources(host).unwrap().refused[0].text.clone();
    assert!(refused(&host(&[MARK, PROGRAM, NEXT])).contains("under --root"));
    assert!(refused(&machine(&[MARK, NEXT])).contains("belong to the image"));
    assert!(refused(&machine(&[MARK, PROGRAM])).contains("no loader entry"));
    assert!(RpmOstree.unpassable(&"a=\"b c\"".parse().unwrap()).is_some());
}
