//! Detection over small trees, and what the tests of the chains have in common.

use super::{BootChain, ChainName, Detection, Edits, Sources, Wish, detect};
use crate::host::{EmptyHost, Host, Reach, SimulatedHost};
use crate::plan::Objection;
use crate::types::{Entry, KernelArg, Place};

const GRUB: &str = "/etc/default/grub";

pub(super) fn host(files: &[(&str, &str)]) -> SimulatedHost<'static> {
    const EMPTY: &EmptyHost = &EmptyHost(Reach::Tree);
    let mut host = SimulatedHost::new(EMPTY);
    files.iter().for_each(|(path, text)| host.put_file(path, *text));
    host
}

pub(super) fn args(texts: &[&str]) -> Vec<KernelArg> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Edits the tree so that the chain's sources give and do not give these arguments.
pub(super) fn wish(
    chain: &dyn BootChain,
    host: &mut SimulatedHost<'_>,
    present: &[&str],
    absent: &[&str],
    gone: &[&str],
) -> Result<Edits, Objection> {
    let (present, absent, gone) = (args(present), args(absent), args(gone));
    let sources: Sources = chain.sources(host).unwrap();
    assert_eq!(sources.refused, []);
    let edits = chain.edits(&sources, &Wish { present: &present, absent: &absent, gone: &gone })?;
    edits.steps.iter().for_each(|step| host.execute(step).unwrap());
    Ok(edits)
}

fn detected(files: &[(&str, &str)]) -> Result<&'static str, String> {
    detected_on(&host(files))
}

/// The chain's name, or the reason's code.
fn detected_on(host: &SimulatedHost<'_>) -> Result<&'static str, String> {
    match detect(host, None).unwrap() {
        Detection::One(chain, _) => Ok(chain.key()),
        other => Err(other.refusal()[0].code.to_string()),
    }
}

#[test]
fn evidence_has_to_agree() {
    let ambiguous = Err("boot-chain-ambiguous".to_owned());
    assert_eq!(detected(&[]), Err("boot-chain-missing".to_owned()));
    assert_eq!(detected(&[(GRUB, "")]), Ok("grub"));
    for (path, text, chain) in [
        ("/run/ostree-booted", "", "rpm-ostree"),
        ("/etc/NIXOS", "", "nixos"),
        ("/etc/kernel/proxmox-boot-uuids", "ABCD-1234\n", "proxmox-boot-tool"),
        ("/etc/sysconfig/bootloader", "LOADER_TYPE=\"grub2\"\n", "update-bootloader"),
    ] {
        assert_eq!(detected(&[(GRUB, ""), (path, text)]), Ok(chain), "{path}");
    }
    assert_eq!(detected(&[(GRUB, ""), ("/etc/kernel/proxmox-boot-uuids", "\n")]), Ok("grub"));
    let mkconfig = "/usr/sbin/grub-mkconfig";
    assert_eq!(detected(&[(GRUB, ""), (mkconfig, "${sysconfdir}/default/grub.d/*.cfg")]), Ok("grub"));
    assert_eq!(detected(&[(GRUB, ""), (mkconfig, "no drop-ins")]), Ok("grub-in-place"));
    assert_eq!(detected(&[(GRUB, ""), ("/etc/os-release", "ID=arch\n")]), Ok("grub-in-place"));
    assert_eq!(detected(&[(GRUB, ""), ("/etc/os-release", "ID=debian\n")]), Ok("grub"));
    assert_eq!(detected(&[(GRUB, ""), ("/boot/grub2/grub.cfg", "menuentry x {\n}\n")]), ambiguous);
    assert_eq!(detected(&[(GRUB, ""), ("/boot/loader/entries/x.conf", "")]), ambiguous);
    assert_eq!(detected(&[("/boot/loader/entries/x.conf", "")]), Ok("loader-entries"));
}

#[test]
fn the_loader_that_booted_this_system_decides() {
    let info = "/sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
    let variable = |text: &str| {
        let units = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes);
        [6, 0, 0, 0].into_iter().chain(units).collect::<Vec<u8>>()
    };
    let mut host = host(&[(GRUB, ""), ("/boot/loader/entries/x.conf", "")]);
    host.put_file(info, variable("GRUB 2.12"));
    assert_eq!(detected_on(&host), Ok("grub"));
    host.put_file(info, variable("systemd-boot 252"));
    assert_eq!(detected_on(&host), Ok("loader-entries"));
}

#[test]
fn the_document_settles_what_the_host_does_not_tell() {
    let named = |chain: &str| {
        Entry::new(
            chain.parse::<ChainName>().unwrap(),
            Place { file: "host.yaml".into(), line: 1, column: 1 },
        )
    };
    let host = host(&[(GRUB, ""), ("/boot/loader/entries/x.conf", "")]);
    let remedy = detect(&host, None).unwrap().refusal()[0].remedy.clone().unwrap();
    assert!(remedy.ends_with("boot: {chain: grub} or boot: {chain: loader-entries}"), "{remedy}");
    let settled = detect(&host, Some(&named("grub"))).unwrap();
    assert!(matches!(settled, Detection::One(chain, _) if chain.key() == "grub"));
    let unfounded = detect(&host, Some(&named("zipl"))).unwrap().refusal();
    assert_eq!(unfounded[0].code, "boot-chain-unfounded");
    assert_eq!(unfounded.len(), 3, "what there is evidence for is told: {unfounded:?}");
}
