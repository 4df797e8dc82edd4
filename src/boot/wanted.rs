//! Whether a command line gives an argument, as the parameter's own parser sees repeats, lists and pairs.

use crate::formats::cmdline::{Repetition, repetition};
use crate::types::KernelArg;

/// An argument that is wanted, with the page size that a `hugepages=` belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The argument.
    pub arg: KernelArg,
    /// Value of the `hugepagesz=` right before it.
    page_size: Option<String>,
}

/// How a parameter's repeats are read; a size alone is single-valued.
fn how(arg: &KernelArg) -> Repetition {
    if arg.is_named("default_hugepagesz") { Repetition::LastWins } else { repetition(arg.name()) }
}

fn page_size(arg: &KernelArg) -> Option<&str> {
    let is_size = arg.is_named("hugepagesz") || arg.is_named("default_hugepagesz");
    if is_size { arg.value() } else { None }
}

/// Pairs each `hugepages=` with the size right before it.
pub fn wanted(args: &[KernelArg]) -> Vec<Wanted> {
    let before = std::iter::once(None).chain(args.iter().map(Some));
    let pairs = args.iter().zip(before);
    pairs
        .map(|(arg, before)| {
            let page_size = before.and_then(page_size).filter(|_| arg.is_named("hugepages"));
            Wanted { arg: arg.clone(), page_size: page_size.map(str::to_owned) }
        })
        .collect()
}

impl Wanted {
    /// Whether these arguments, in this order, have the effect that is wanted.
    pub fn given_by(&self, args: &[&KernelArg]) -> bool {
        let mut named = args.iter().filter(|arg| arg.same_name(&self.arg));
        match how(&self.arg) {
            Repetition::LastWins => named.next_back().is_some_and(|last| **last == self.arg),
            Repetition::Cumulative => named.any(|arg| **arg == self.arg),
            Repetition::CumulativeList => {
                let given: Vec<&str> =
                    named.flat_map(|arg| arg.value().unwrap_or_default().split(',')).collect();
                let mut elements = self.arg.value().unwrap_or_default().split(',');
                elements.all(|element| {
                    let rivals = exclusive(&self.arg, element);
                    let last = given.iter().rev().find(|given| **given == element || rivals.contains(given));
                    last == Some(&element)
                })
            }
            // The first count for a size counts; the kernel ignores a second one (mm/hugetlb.c).
            Repetition::HugePages if self.arg.is_named("hugepages") => {
                self.counts(args).first().is_some_and(|(_, count)| *count == self.arg.value())
            }
            Repetition::HugePages => named.any(|arg| **arg == self.arg),
        }
    }

    /// Positions of arguments that are in the way: the same single-valued parameter with another value.
    pub fn conflicts(&self, args: &[&KernelArg]) -> Vec<usize> {
        match how(&self.arg) {
            Repetition::LastWins => {
                let differs = |arg: &KernelArg| arg.same_name(&self.arg) && *arg != self.arg;
                args.iter().enumerate().filter(|(_, arg)| differs(arg)).map(|(at, _)| at).collect()
            }
            Repetition::HugePages if self.arg.is_named("hugepages") => {
                let differs = |(_, count): &(usize, Option<&str>)| *count != self.arg.value();
                self.counts(args).into_iter().filter(differs).map(|(at, _)| at).collect()
            }
            Repetition::HugePages | Repetition::Cumulative | Repetition::CumulativeList => Vec::new(),
        }
    }

    /// Every `hugepages=` of this one's page size.
    fn counts<'a>(&self, args: &[&'a KernelArg]) -> Vec<(usize, Option<&'a str>)> {
        let mut size: Option<&str> = None;
        let mut counts = Vec::new();
        for (at, arg) in args.iter().enumerate() {
            if let Some(new) = page_size(arg) {
                size = Some(new);
            } else if arg.is_named("hugepages")
                && size.map(normal_size) == self.page_size.as_deref().map(normal_size)
            {
                counts.push((at, arg.value()));
            }
        }
        counts
    }
}

/// Sizes are read by `memparse`: the suffix's case does not matter.
fn normal_size(size: &str) -> String {
    size.to_ascii_uppercase()
}

/// Elements that undo each other, the later one winning (`intel_iommu_setup`, x86's `iommu_setup`).
fn exclusive(arg: &KernelArg, element: &str) -> &'static [&'static str] {
    if arg.is_named("intel_iommu") {
        match element {
            "on" | "off" => &["on", "off"],
            "sm_on" | "sm_off" => &["sm_on", "sm_off"],
            _ => &[],
        }
    } else if arg.is_named("iommu") {
        match element {
            "pt" | "nopt" => &["pt", "nopt"],
            "force" | "noforce" => &["force", "noforce"],
            "merge" | "nomerge" => &["merge", "nomerge"],
            _ => &[],
        }
    } else {
        &[]
    }
}

/// Whether `arg` is what must be absent: `name=value` exactly, or a bare name with any value.
pub fn is_meant(absent: &KernelArg, arg: &KernelArg) -> bool {
    absent.same_name(arg) && (absent.value().is_none() || absent.value() == arg.value())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::cmdline::CommandLine;

    fn given(wish: &str, line: &str) -> (Vec<bool>, Vec<Vec<usize>>) {
        let parse = |line: &str| CommandLine::parse(line.as_bytes()).args().cloned().collect::<Vec<_>>();
        let (wish, line) = (parse(wish), parse(line));
        let args: Vec<&KernelArg> = line.iter().collect();
        let wish = wanted(&wish);
        (
            wish.iter().map(|wanted| wanted.given_by(&args)).collect(),
            wish.iter().map(|wanted| wanted.conflicts(&args)).collect(),
        )
    }

    #[test]
    fn single_valued_parameters_take_the_last() {
        assert_eq!(given("a.b=1", "a.b=1 a.b=2"), (vec![false], vec![vec![1]]));
        assert_eq!(given("a_b=1", "a-b=2 a-b=1"), (vec![true], vec![vec![0]]));
        assert_eq!(given("quiet", "quiet=1"), (vec![false], vec![vec![0]]));
    }

    #[test]
    fn cumulative_parameters_never_conflict() {
        assert_eq!(given("console=ttyS0", "console=tty0"), (vec![false], vec![vec![]]));
        assert_eq!(given("console=ttyS0", "console=ttyS0 console=tty0"), (vec![true], vec![vec![]]));
        assert_eq!(given("iommu=pt", "iommu=nomerge,pt"), (vec![true], vec![vec![]]));
        assert_eq!(given("iommu=pt", "iommu=pt iommu=nopt"), (vec![false], vec![vec![]]));
        assert_eq!(
            given("intel_iommu=on", "intel_iommu=off intel_iommu=on,sm_on"),
            (vec![true], vec![vec![]])
        );
        assert_eq!(given("modprobe.blacklist=a,b", "modprobe.blacklist=b modprobe.blacklist=a").0, [true]);
        assert_eq!(given("modprobe.blacklist=a-b", "modprobe.blacklist=a_b").0, [false]);
    }

    #[test]
    fn huge_pages_are_pairs() {
        let wish = "hugepagesz=1G hugepages=4 hugepagesz=2M hugepages=512";
        assert_eq!(
            given(wish, "hugepagesz=2M hugepages=512 hugepagesz=1g hugepages=4").0,
            [false, true, true, true]
        );
        assert_eq!(given(wish, "hugepages=4 hugepagesz=1G hugepages=8").1, [vec![], vec![2], vec![], vec![]]);
        assert_eq!(given("hugepages=8", "hugepagesz=1G hugepages=8").0, [false]);
        assert_eq!(given("hugepages=8", "hugepages=8 hugepagesz=1G hugepages=4").0, [true]);
    }

    #[test]
    fn absent_means_exactly_or_any() {
        let meant = |absent: &str, arg: &str| is_meant(&absent.parse().unwrap(), &arg.parse().unwrap());
        assert!(meant("nomodeset", "nomodeset") && meant("console", "console=tty0"));
        assert!(meant("a=b", "a=b") && !meant("a=b", "a=c") && !meant("a=b", "a") && !meant("a", "ab"));
    }
}
