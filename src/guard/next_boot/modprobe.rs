//! What a change writes to modprobe.d.

use std::collections::BTreeSet;
use std::path::Path;

use super::{News, STUBS};
use crate::formats::modprobe::{Content, DIRECTORIES, Directive, is_config_name, lines, split_arguments};
use crate::plan::{Change, Step};

/// What the files of a change say anew. Of a file whose lines this change owns in part, those lines alone: other items of
/// the same file answer for theirs.
pub(super) fn news(change: &Change) -> Vec<News> {
    let mut news = Vec::new();
    for step in &change.steps {
        let Step::WriteFile { path, before, after, .. } = step else { continue };
        if !is_read(path) {
            continue;
        }
        let standing: BTreeSet<&str> = text_lines(before.bytes().unwrap_or_default()).into_iter().collect();
        let owned = change.owns.iter().filter(|owned| owned.target == *path);
        let owned: Vec<&str> =
            owned.filter_map(|owned| owned.written.as_deref()).flat_map(str::lines).collect();
        let written = text_lines(&after.0);
        let concerned: Vec<&str> = if owned.is_empty() { written } else { owned };
        for line in concerned.into_iter().filter(|line| !standing.contains(line)) {
            for parsed in lines(line.as_bytes()) {
                if let Content::Directive(directive) = parsed.content {
                    news.extend(said_by(&directive, &format!("`{line}` in {}", path.display())));
                }
            }
        }
    }
    news
}

fn text_lines(bytes: &[u8]) -> Vec<&str> {
    std::str::from_utf8(bytes).unwrap_or_default().lines().collect()
}

fn is_read(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let directory = path.parent().and_then(Path::to_str);
    name.is_some_and(is_config_name) && directory.is_some_and(|directory| DIRECTORIES.contains(&directory))
}

fn said_by(directive: &Directive, by: &str) -> Vec<News> {
    let by = by.to_owned();
    match directive {
        Directive::Blacklist { module } => vec![News::NoAlias { module: module.clone(), by }],
        Directive::Alias { alias, module } if module == "off" => {
            vec![News::NoAlias { module: alias.clone(), by }]
        }
        Directive::Install { module, .. } => vec![News::NotAtAll { module: module.clone(), by }],
        Directive::Options { module, arguments } if STUBS.contains(&module.as_str()) => {
            let ids = split_arguments(arguments).into_iter().filter(|argument| argument.name == "ids");
            ids.filter_map(|argument| Some(News::Claimed { ids: argument.value?, by: by.clone() })).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Disruption, FileState, OwnedItem, Phase, Reason};

    const FILE: &str = "/etc/modprobe.d/zz.conf";

    /// A change that writes these lines where `before` stood, and owns those in `owned`.
    fn said(path: &str, before: &str, after: &str, owned: &str) -> Vec<News> {
        let before = FileState::File {
            bytes: before.into(),
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime_ns: 0,
            xattrs: std::collections::BTreeMap::new(),
        };
        let step = Step::WriteFile { path: path.into(), before, after: after.into(), mode: 0o644 };
        let reason = Reason::new("test", "a test");
        let mut change = Change::new(Phase::Persisted, vec![step], Disruption::Nothing, reason);
        if !owned.is_empty() {
            let written = Some(owned.to_owned());
            let item = "a".to_owned();
            change.owns.push(OwnedItem { item, target: path.into(), before: None, written });
        }
        news(&change)
    }

    fn modules(news: &[News]) -> Vec<&str> {
        let mut names = Vec::new();
        for news in news {
            names.push(match news {
                News::NoAlias { module, .. } | News::NotAtAll { module, .. } => module.as_str(),
                News::Claimed { ids, .. } => ids.as_str(),
            });
        }
        names
    }

    #[test]
    fn only_what_is_new_and_its_own_is_an_items_news() {
        let both = "blacklist ahci\nblacklist nvme\n";
        assert_eq!(
            modules(&said(FILE, "", both, "")),
            ["ahci", "nvme"],
            "nobody owns a line: all of them answer"
        );
        assert_eq!(modules(&said(FILE, "", both, "blacklist nvme")), ["nvme"]);
        assert_eq!(modules(&said(FILE, "blacklist nvme\n", both, "")), ["ahci"]);
        assert_eq!(
            modules(&said(FILE, both, "blacklist ahci\n", "")),
            [""; 0],
            "what goes keeps nothing away"
        );
        assert_eq!(
            modules(&said("/etc/modprobe.d/zz.conf.bak", "", both, "")),
            [""; 0],
            "kmod does not read it"
        );
        assert_eq!(modules(&said("/etc/default/zz.conf", "", both, "")), [""; 0]);
    }

    #[test]
    fn every_directive_that_keeps_a_module_away_is_read() {
        let text = "alias ahci off\ninstall nvme /bin/false\noptions vfio-pci ids=8086:1521 disable_vga=1\noptions kvm x=1\nsoftdep a pre: b\n";
        let news = said(FILE, "", text, "");
        assert_eq!(modules(&news), ["ahci", "nvme", "8086:1521"]);
        assert!(matches!(&news[1], News::NotAtAll { .. }), "{news:?}");
    }
}
