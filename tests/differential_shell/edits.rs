//! Edits of single arguments: the real shell reads exactly the intended change, and every other byte stays.

use std::path::Path;

use reconcile::boot::grub_d::{GrubD, OWN_DROP_IN};
use reconcile::boot::{BootChain, Wish};
use reconcile::formats::cmdline::CommandLine;
use reconcile::host::{EmptyHost, Host, Reach, ReadHost, SimulatedHost};
use reconcile::types::KernelArg;

use super::sh;

struct EditCase {
    grub: &'static str,
    drop_in: &'static str,
    present: &'static [&'static str],
    absent: &'static [&'static str],
    /// Both files afterwards, and what the kernel gets.
    after: (&'static str, &'static str, &'static [&'static str]),
}

/// `None`: refused.
const CASES: &[(EditCase, bool)] = &[
    (
        EditCase {
            grub: "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet a.b=0 splash\" # a.b=0\n",
            drop_in: "",
            present: &["a.b=1"],
            absent: &[],
            after: (
                "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet a.b=1 splash\" # a.b=0\n",
                "",
                &["quiet", "a.b=1", "splash"],
            ),
        },
        true,
    ),
    (
        EditCase {
            grub: "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet splash\"\n",
            drop_in: "",
            present: &[],
            absent: &["splash"],
            after: ("GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n", "", &["quiet"]),
        },
        true,
    ),
    (
        EditCase {
            grub: "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet splash\"\n",
            drop_in: "",
            present: &[],
            absent: &["quiet"],
            after: ("GRUB_CMDLINE_LINUX_DEFAULT=\"splash\"\n", "", &["splash"]),
        },
        true,
    ),
    (
        EditCase {
            grub: "GRUB_CMDLINE_LINUX_DEFAULT=quiet\nA=1",
            drop_in: "",
            present: &[],
            absent: &["quiet"],
            after: ("GRUB_CMDLINE_LINUX_DEFAULT=\nA=1", "", &[]),
        },
        true,
    ),
    (
        EditCase {
            grub: "GRUB_CMDLINE_LINUX_DEFAULT='a  quiet\tb'\n",
            drop_in: "",
            present: &[],
            absent: &["quiet"],
            after: ("GRUB_CMDLINE_LINUX_DEFAULT='a \tb'\n", "", &["a", "b"]),
        },
        true,
    ),
    (
        EditCase {
            grub: "GRUB_CMDLINE_LINUX=\"console=tty0 console=ttyS0\"\n",
            drop_in: "GRUB_CMDLINE_LINUX_DEFAULT=\"console=ttyS1\"\n",
            present: &[],
            absent: &["console"],
            after: ("GRUB_CMDLINE_LINUX=\"\"\n", "GRUB_CMDLINE_LINUX_DEFAULT=\"\"\n", &[]),
        },
        true,
    ),
    (
        EditCase {
            grub: "GRUB_CMDLINE_LINUX=\"console=tty0 console=ttyS0\"\n",
            drop_in: "",
            present: &[],
            absent: &["console=tty0"],
            after: ("GRUB_CMDLINE_LINUX=\"console=ttyS0\"\n", "", &["console=ttyS0"]),
        },
        true,
    ),
    (
        EditCase {
            grub: "OLD=\"a_b=0 x\"\nGRUB_CMDLINE_LINUX=\"$OLD y\"\n",
            drop_in: "",
            present: &["a-b=1"],
            absent: &[],
            after: ("OLD=\"a-b=1 x\"\nGRUB_CMDLINE_LINUX=\"$OLD y\"\n", "", &["a-b=1", "x", "y"]),
        },
        true,
    ),
    (
        EditCase {
            grub: "GRUB_CMDLINE_LINUX=\"a=0\"\n",
            drop_in: "GRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX_DEFAULT a=2 b\"\n",
            present: &["a=1"],
            absent: &[],
            after: (
                "GRUB_CMDLINE_LINUX=\"a=1\"\n",
                "GRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX_DEFAULT b\"\n",
                &["a=1", "b"],
            ),
        },
        true,
    ),
    (
        EditCase {
            grub: "GRUB_CMDLINE_LINUX=\"a=\\\"0 1\\\" b\"\n",
            drop_in: "",
            present: &["a=\"2 3\""],
            absent: &[],
            after: ("GRUB_CMDLINE_LINUX=\"a=\\\"2 3\\\" b\"\n", "", &["a=\"2 3\"", "b"]),
        },
        true,
    ),
    (
        EditCase {
            grub: "GRUB_CMDLINE_LINUX='a=\"0 1\" b'\n",
            drop_in: "",
            present: &["a=$x"],
            absent: &[],
            after: ("GRUB_CMDLINE_LINUX='a=\\$x b'\n", "", &["a=$x", "b"]),
        },
        true,
    ),
    (
        EditCase {
            grub: "GRUB_CMDLINE_LINUX=a=0\\ b\n",
            drop_in: "",
            present: &["a=x;y"],
            absent: &[],
            after: ("GRUB_CMDLINE_LINUX=a=x\\\\\\;y\\ b\n", "", &["a=x;y", "b"]),
        },
        true,
    ),
    (
        EditCase {
            grub: "GRUB_CMDLINE_LINUX=\"a \\\n  quiet \\\n  b\"\n",
            drop_in: "",
            present: &[],
            absent: &["quiet"],
            after: ("GRUB_CMDLINE_LINUX=\"a \\\n  \\\n  b\"\n", "", &["a", "b"]),
        },
        true,
    ),
    (
        EditCase {
            grub: "GRUB_CMDLINE_LINUX=\"hugepagesz=1G hugepages=8\"\n",
            drop_in: "",
            present: &["hugepagesz=1G", "hugepages=16"],
            absent: &[],
            after: (
                "GRUB_CMDLINE_LINUX=\"hugepagesz=1G hugepages=16\"\n",
                "",
                &["hugepagesz=1G", "hugepages=16"],
            ),
        },
        true,
    ),
    (
        EditCase {
            grub: "X=\"quiet\"\nGRUB_CMDLINE_LINUX=\"$X $X a\"\n",
            drop_in: "",
            present: &[],
            absent: &["quiet"],
            after: ("X=\"\"\nGRUB_CMDLINE_LINUX=\"$X $X a\"\n", "", &["a"]),
        },
        true,
    ),
    (
        EditCase {
            grub: "export GRUB_CMDLINE_LINUX=\"quiet a\"; A=1\r\n",
            drop_in: "",
            present: &[],
            absent: &["a"],
            after: ("export GRUB_CMDLINE_LINUX=\"quiet\"; A=1\r\n", "", &["quiet"]),
        },
        true,
    ),
    (
        EditCase {
            grub: "GRUB_CMDLINE_LINUX=\"x\"'quiet'\" y\"\n",
            drop_in: "",
            present: &[],
            absent: &["xquiet"],
            after: ("GRUB_CMDLINE_LINUX=\"\"''\" y\"\n", "", &["y"]),
        },
        true,
    ),
    (
        EditCase {
            grub: "A=uiet\nGRUB_CMDLINE_LINUX=\"q$A y\"\n",
            drop_in: "",
            present: &[],
            absent: &["quiet"],
            after: ("", "", &[]),
        },
        false,
    ),
    (
        EditCase {
            grub: "if [ -d / ]; then GRUB_CMDLINE_LINUX=quiet; fi\n",
            drop_in: "",
            present: &[],
            absent: &["quiet"],
            after: ("", "", &[]),
        },
        false,
    ),
    (
        EditCase {
            grub: "GRUB_CMDLINE_LINUX=\"a=0 -- init\"\n",
            drop_in: "",
            present: &["a=1"],
            absent: &[],
            after: ("GRUB_CMDLINE_LINUX=\"a=1 -- init\"\n", "", &["a=1"]),
        },
        true,
    ),
];

fn args(texts: &[&str]) -> Vec<KernelArg> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn an_edit_changes_the_argument_and_nothing_else() {
    let mut faults = Vec::new();
    for (case, possible) in CASES {
        let empty = EmptyHost(Reach::Tree);
        let mut host = SimulatedHost::new(&empty);
        let (grub, drop_in) = (Path::new("/etc/default/grub"), Path::new("/etc/default/grub.d/50-x.cfg"));
        host.put_file(grub, case.grub);
        host.put_file(drop_in, case.drop_in);
        let (present, absent) = (args(case.present), args(case.absent));
        let wish = Wish { present: &present, absent: &absent, gone: &[] };
        let edits = GrubD.edits(&GrubD.sources(&host).unwrap(), &wish);
        let edits = match edits {
            Ok(edits) if *possible => edits,
            Err(_) if !possible => continue,
            other => {
                faults.push(format!("{:?}: {other:?}", case.grub));
                continue;
            }
        };
        for step in &edits.steps {
            host.execute(step).unwrap();
        }
        let read = |path: &Path| {
            host.text(path).unwrap().map(|_| host.read(path).unwrap().unwrap()).unwrap_or_default()
        };
        let files = vec![
            ("0".to_owned(), read(grub)),
            ("1".to_owned(), read(drop_in)),
            ("2".to_owned(), read(Path::new(OWN_DROP_IN))),
        ];
        let texts: Vec<String> =
            files.iter().map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).collect();
        if texts[0] != case.after.0 || texts[1] != case.after.1 {
            faults.push(format!("{:?}: became {texts:?}", case.grub));
        }
        let values = sh::source(&files).unwrap();
        let line = [values[0].as_slice(), b" ", values[1].as_slice()].concat();
        let passed = reconcile::formats::grub_script::passed(&line).unwrap();
        let joined = passed.iter().map(|passed| passed.arg.to_string()).collect::<Vec<_>>().join(" ");
        let kernel: Vec<KernelArg> = CommandLine::parse(joined.as_bytes()).args().cloned().collect();
        if kernel != args(case.after.2) {
            faults.push(format!("{:?}: the kernel gets {kernel:?}", case.grub));
        }
        let again = GrubD.edits(&GrubD.sources(&host).unwrap(), &wish).unwrap();
        if !again.steps.is_empty() {
            faults.push(format!("{:?}: a second edit makes {:?}", case.grub, again.steps));
        }
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), CASES.len(), faults.join("\n"));
}
