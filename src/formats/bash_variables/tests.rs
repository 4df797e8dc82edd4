use std::process::Command;

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<Variables, Doubt> {
    let mut variables = Variables::default();
    variables.source(text).map(|()| variables)
}

const NAMES: [&str; 4] = ["MODULES", "FILES", "HOOKS", "A"];

/// What bash makes of the same text: the kind of each variable, then its elements.
#[allow(clippy::disallowed_methods)] // A test may ask bash.
fn bash(text: &str) -> Vec<Option<Value>> {
    let script = format!(
        "set -f; {{ {text}\n}}; for n in {}; do declare -n v=$n; \
         if [[ ${{v@a}} == *a* ]]; then printf 'array\\0%d\\0' ${{#v[@]}}; ((${{#v[@]}})) && printf '%s\\0' \"${{v[@]}}\"; \
         elif [[ -v $n ]]; then printf 'text\\0%s\\0' \"$v\"; else printf 'unset\\0'; fi; done; true",
        NAMES.join(" ")
    );
    let output =
        Command::new("bash").args(["--norc", "-c", &script]).env_clear().output().expect("bash runs");
    assert!(output.status.success(), "{text}: {}", String::from_utf8_lossy(&output.stderr));
    let mut fields =
        output.stdout.split(|byte| *byte == 0).map(|field| String::from_utf8(field.to_vec()).unwrap());
    let mut next = || fields.next().unwrap();
    NAMES
        .iter()
        .map(|_| match next().as_str() {
            "array" => Some(Value::Array((0..next().parse::<usize>().unwrap()).map(|_| next()).collect())),
            "text" => Some(Value::Text(next())),
            _ => None,
        })
        .collect()
}

#[track_caller]
fn same_as_bash(text: &str) {
    let ours = read(text).unwrap_or_else(|doubt| panic!("{text}: {doubt} in line {}", doubt.line));
    let ours: Vec<Option<Value>> = NAMES.iter().map(|name| ours.get(name).cloned()).collect();
    assert_eq!(ours, bash(text), "{text}");
}

#[test]
fn assignments_are_what_bash_makes_of_them() {
    for text in [
        "MODULES=()\nBINARIES=()\nFILES=()\nHOOKS=(base udev autodetect microcode modconf kms)\n#COMPRESSION=\"zstd\"\n",
        "# vim:set ft=sh\nMODULES=(vfio_pci vfio # why\n  vfio_iommu_type1\n)\nHOOKS=(test) A=zstd\n",
        "MODULES=\"a b\"\nMODULES+=\" c\"; FILES='/etc/x y'\n",
        "MODULES=\"a b\"\nMODULES+=(c)\nHOOKS=(x)\nHOOKS+=y\n",
        "MODULES=(a 'b c' \"d\\\"e\" f\\ g h\\\ni)\nA=\n",
        "MODULES=(i915)\nMODULES=(vfio_pci \"${MODULES[@]}\")\nFILES=(${NOTHING[@]} x)\n",
        "A=\"p q\"\nMODULES=(${A[@]} \"${A[@]}\")\n",
        "MODULES=(crc32c?)\nA=a=b\nMODULES+=()\nHOOKS=(\"\" '')\n",
    ] {
        same_as_bash(text);
    }
}

#[test]
fn what_only_a_run_can_tell_is_a_doubt_with_its_line() {
    for (text, line, why) in [
        ("MODULES=()\nif true; then\n", 2, COMMAND),
        ("\n\nsource /etc/x\n", 3, COMMAND),
        ("A=$(uname -r)\n", 1, "an expansion"),
        ("A=(x)\nMODULES=(a\n \"$A\")\n", 3, "an expansion"),
        ("MODULES=(a b", 1, "an array that does not end"),
        ("A='x\n", 1, "a quote that does not end"),
        ("A=x command\n", 1, COMMAND),
        ("A={a,b}\n", 1, "an expansion"),
        ("MODULES[1]=x\n", 1, COMMAND),
        ("declare -a MODULES=(x)\n", 1, COMMAND),
        ("A=(x)y\n", 1, "an assignment with something behind it"),
        ("MODULES=(a <(x))\n", 1, COMMAND),
    ] {
        assert_eq!(read(text).map(|_| ()), Err(Doubt { line, why }), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_doubted(text in "[A-Z=+()'\"\\\\ \n#;$a-z{},]{0,60}") {
        let _read_or_doubted = read(&text);
    }

    #[test]
    fn words_are_what_bash_makes_of_them(words in proptest::collection::vec("[a-z_]{1,5}|'[a-z $]{0,4}'|\"[a-z '#]{0,4}\"|[a-z]\\\\[ $#a-z]", 0..6)) {
        same_as_bash(&format!("MODULES=({})\nMODULES+=(\"${{MODULES[@]}}\" z)\nA={}\n", words.join(" "), words.first().map_or("", String::as_str)));
    }
}
