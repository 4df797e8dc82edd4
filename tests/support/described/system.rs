//! Mounts, swap and processes.

use super::{Described, Words};

impl Described {
    /// `mount SOURCE POINT TYPE [dev=0:33] [root=/@] [super=lowerdir=/a,upperdir=/b]`; where `dev` is left out, the
    /// number is that of the block device `/dev/NAME`.
    pub(super) fn mount(&mut self, words: &Words<'_>) {
        let (source, point, kind) = (words.at(0), words.at(1), words.at(2));
        let named = source.strip_prefix("/dev/").and_then(|name| self.numbers.get(name)).cloned();
        let number = words.option("dev").map(str::to_owned).or(named).unwrap_or_else(|| "0:99".to_owned());
        let (root, options) = (words.option("root").unwrap_or("/"), words.option("super").unwrap_or("rw"));
        let line = format!("30 1 {number} {root} {point} rw,relatime shared:1 - {kind} {source} {options}");
        self.append("/proc/self/mountinfo", &line);
    }

    /// `swap SOURCE`, or `swap PATH file`
    pub(super) fn swap(&mut self, words: &Words<'_>) {
        let kind = if words.has("file") { "file" } else { "partition" };
        if self.text("/proc/swaps").is_none() {
            self.file("/proc/swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
        }
        self.append("/proc/swaps", &format!("{}\t{kind}\t1048572\t0\t-2", words.at(0)));
    }

    /// `process PID COMMAND ARGUMENT... [parent=PID]`
    pub(super) fn process(&mut self, words: &Words<'_>) {
        let pid = words.at(0);
        let arguments: Vec<&str> =
            words.line.split_whitespace().skip(2).filter(|word| !word.starts_with("parent=")).collect();
        let name = arguments.first().and_then(|path| path.rsplit('/').next()).unwrap_or("process");
        let comm: String = name.trim_end_matches(':').chars().take(15).collect();
        let parent = words.option("parent").unwrap_or("1");
        self.file(&format!("/proc/{pid}/comm"), &format!("{comm}\n"));
        self.file(&format!("/proc/{pid}/cmdline"), &format!("{}\0", arguments.join("\0")));
        self.file(
            &format!("/proc/{pid}/stat"),
            &format!("{pid} ({comm}) S {parent} {pid} {pid} 0 -1 4194560\n"),
        );
        self.file(&format!("/proc/{pid}/environ"), "PATH=/usr/bin\0");
        self.directory(&format!("/proc/{pid}/fd"));
    }

    /// `fd PID NUMBER TARGET`
    pub(super) fn fd(&mut self, words: &Words<'_>) {
        let target: Vec<&str> = words.line.split_whitespace().skip(3).collect();
        self.link(&format!("/proc/{}/fd/{}", words.at(0), words.at(1)), &target.join(" "));
    }

    /// `env PID KEY=VALUE with blanks`
    pub(super) fn env(&mut self, words: &Words<'_>) {
        let pid = words.at(0);
        let value: Vec<&str> = words.line.split_whitespace().skip(2).collect();
        self.file(&format!("/proc/{pid}/environ"), &format!("PATH=/usr/bin\0{}\0", value.join(" ")));
    }
}
