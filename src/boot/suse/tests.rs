//! `LOADER_TYPE`.

use super::Suse;
use crate::boot::BootChain;
use crate::boot::tests::host;
use crate::engine::Means;

const FILE: &str = "/etc/sysconfig/bootloader";

#[test]
fn the_loader_decides_the_file_and_the_command() {
    let told = |text: &str| {
        let host = host(&[(FILE, text), ("/etc/default/grub", ""), ("/etc/kernel/cmdline", "root=a\n")]);
        let Means::Command(argv) = Suse.regenerate(&host).unwrap() else { panic!("{text}") };
        let sources = Suse.sources(&host).unwrap();
        (
            argv.join(" "),
            sources.files.first().map(|(path, _)| path.display().to_string()).unwrap_or_default(),
        )
    };
    let (grub, cmdline) = ("/etc/default/grub".to_owned(), "/etc/kernel/cmdline".to_owned());
    assert_eq!(told("LOADER_TYPE=\"grub2\"\n"), ("grub2-mkconfig -o /boot/grub2/grub.cfg".to_owned(), grub));
    assert_eq!(told("A=1\nLOADER_TYPE=grub2-bls\n"), ("sdbootutil update-all-entries".to_owned(), cmdline));
    assert!(Suse.evidence(&host(&[(FILE, "LOADER_TYPE=\"\"\n")])).unwrap().is_empty());
    assert_eq!(
        Suse.sources(&host(&[(FILE, "LOADER_TYPE=none\n")])).unwrap().refused[0].code,
        "boot-chain-unsupported"
    );
}
