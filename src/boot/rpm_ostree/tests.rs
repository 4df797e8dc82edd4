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

/// The objection to a change; nothing where none is needed.
fn refused(host: &mut SimulatedHost<'_>, present: &[&str], absent: &[&str]) -> Option<(String, String)> {
    let objection = wish(&RpmOstree, host, present, absent, &[]).err()?;
    Some((objection.chain[0].text.clone(), objection.chain[0].remedy.clone().unwrap_or_default()))
}

#[test]
fn what_cannot_be_changed_here_is_refused_with_where_it_goes() {
    let (text, _) = refused(&mut host(&[MARK, PROGRAM, NEXT]), &["iommu=pt"], &[]).unwrap();
    assert!(text.contains("under --root"), "{text}");
    let mut bootc = machine(&[MARK, NEXT]);
    let (text, remedy) = refused(&mut bootc, &["iommu=pt", "e=f\"g\"h"], &[]).unwrap();
    assert!(text.contains("belong to the image"), "{text}");
    assert!(remedy.starts_with("in the image, write kargs = [\"iommu=pt\", \"e=f\\\"g\\\"h\"] into /usr/lib/bootc/kargs.d/50-vfio.toml; build it"), "{remedy}");
    assert!(refused(&mut bootc, &["b=1"], &["quiet"]).unwrap().1.contains("take what is in the way out"));
    assert!(
        refused(&mut bootc, &[], &["quiet"])
            .unwrap()
            .1
            .starts_with("in the image, take them out of the files")
    );
    assert_eq!(refused(&mut bootc, &["quiet", "console=tty0"], &["iommu"]), None, "the image gives them");
    let sources = RpmOstree.sources(&machine(&[MARK, PROGRAM])).unwrap();
    assert!(sources.refused[0].text.contains("no loader entry"));
    assert!(RpmOstree.unpassable(&"a=\"b c\"".parse().unwrap()).is_some());
}
