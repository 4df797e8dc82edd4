//! Reads the documents that the command line names. They lie on the machine that runs the program, whatever `--root`.

// The one place that reads documents; everything else of the machine goes through `ReadHost`.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::{Uid, geteuid};

use super::root::Root;
use super::{HostError, StepError, replace};
use crate::document::{DocumentError, Source};
use crate::plan::FileState;

/// Where the document lies unless `--config` names another place.
pub const DEFAULT_PATH: &str = "/etc/reconcile/host.yaml";

/// The largest document that is read, in bytes.
pub const LARGEST: u64 = 1 << 20;

/// The largest saved plan that is read, in bytes: it holds the files that it changes.
const LARGEST_PLAN: u64 = 64 << 20;

/// The files that could be read, and why the others could not.
#[derive(Debug, Default)]
pub struct Documents {
    /// In the order of the command line; those of a directory by name.
    pub sources: Vec<Source>,
    /// One for each path that is at fault; goes to [`crate::document::load_all`].
    pub errors: Vec<DocumentError>,
}

/// Reads files, and of directories all `*.yaml` that are not hidden, by name.
///
/// Never blocks on a FIFO and never reads a file above [`LARGEST`]. A program that runs as root refuses a document that
/// somebody else could have written.
///
/// Under `--root`, `tree` is that directory: its owner can change the tree at will, and may own its documents as well.
pub fn read_documents(paths: &[PathBuf], tree: Option<&Path>) -> Documents {
    let owner = tree.and_then(|tree| std::fs::metadata(tree).ok()).map_or(0, |metadata| metadata.uid());
    read_as(paths, Reader { user: geteuid(), owner, largest: LARGEST })
}

/// Reads a saved plan, under the rules for documents.
///
/// # Errors
/// Where a document would be refused.
pub fn read_saved_plan(path: &Path, tree: Option<&Path>) -> Result<Vec<u8>, Box<DocumentError>> {
    let owner = tree.and_then(|tree| std::fs::metadata(tree).ok()).map_or(0, |metadata| metadata.uid());
    let reader = Reader { user: geteuid(), owner, largest: LARGEST_PLAN };
    read_file(path, reader).map(|source| source.bytes)
}

/// Writes a file that only its owner can read; what stood there is replaced.
///
/// # Errors
/// When it cannot be written.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), HostError> {
    let fail = |error: io::Error| HostError::new("write", path, error);
    let absolute = std::path::absolute(path).map_err(fail)?;
    let root = Root::open(Path::new("/"))?;
    match std::fs::symlink_metadata(&absolute) {
        Ok(found) if !found.is_file() => {
            return Err(fail(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")));
        }
        // A file that is replaced would keep its mode.
        Ok(_) => std::fs::remove_file(&absolute).map_err(fail)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(fail(error)),
    }
    replace::write(&root, &absolute, &FileState::Absent, bytes, 0o600).map_err(|error| match error {
        StepError::Host(error) => error,
        other => fail(io::Error::other(other.to_string())),
    })
}

/// Who reads, which user beside root may own what is read, and how large it may be.
#[derive(Clone, Copy)]
struct Reader {
    user: Uid,
    owner: u32,
    largest: u64,
}

fn read_as(paths: &[PathBuf], reader: Reader) -> Documents {
    let mut documents = Documents::default();
    for path in paths {
        match files_of(path) {
            Ok(files) => {
                for file in files {
                    match read_file(&file, reader) {
                        Ok(source) => documents.sources.push(source),
                        Err(error) => documents.errors.push(*error),
                    }
                }
            }
            Err(error) => documents.errors.push(*error),
        }
    }
    documents
}

fn fault(code: &'static str, path: &Path, problem: impl Into<String>) -> DocumentError {
    DocumentError::of_file(code, path.display().to_string(), problem)
}

fn unreadable(path: &Path, error: &io::Error) -> DocumentError {
    match error.kind() {
        io::ErrorKind::NotFound => {
            let near = if path == Path::new(DEFAULT_PATH) {
                "write the document there, or name another with --config".to_owned()
            } else {
                format!("correct the path; without --config the document is {DEFAULT_PATH}")
            };
            fault("no-document", path, format!("{} does not exist", path.display())).remedy(near)
        }
        io::ErrorKind::PermissionDenied => {
            fault("unreadable", path, format!("{} may not be read by this user", path.display()))
                .remedy("run as root, or give this user the right to read it")
        }
        _ => fault("unreadable", path, format!("{} cannot be read: {error}", path.display())),
    }
}

/// The file itself, or the documents of a directory.
fn files_of(path: &Path) -> Result<Vec<PathBuf>, Box<DocumentError>> {
    let unreadable = |error: io::Error| unreadable(path, &error);
    if !std::fs::metadata(path).map_err(unreadable)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    let mut near_miss = None;
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        if name.as_bytes().starts_with(b".") {
            continue;
        }
        if name.as_bytes().ends_with(b".yaml") {
            files.push(path.join(name));
        } else if name.as_bytes().ends_with(b".yml") {
            near_miss = Some(name);
        }
    }
    if files.is_empty() {
        let error = fault("no-document", path, format!("the directory {} holds no document", path.display()));
        let error = error.accepted("files that end in .yaml and do not begin with a dot");
        return Err(match near_miss {
            Some(name) => error.remedy(format!("rename {} to end in .yaml", name.to_string_lossy())).into(),
            None => error.remedy("write a document there, or name another place with --config").into(),
        });
    }
    files.sort();
    Ok(files)
}

fn read_file(path: &Path, reader: Reader) -> Result<Source, Box<DocumentError>> {
    let unreadable = |error: io::Error| unreadable(path, &error);
    // Looked at before it is opened: to open a device can have effects.
    regular(path, &std::fs::metadata(path).map_err(unreadable)?)?;
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    regular(path, &metadata)?;
    if reader.user.is_root() {
        trusted(path, &metadata, reader.owner)?;
    }
    Ok(Source::new(path.display().to_string(), content(path, &file, metadata.len(), reader.largest)?))
}

fn regular(path: &Path, metadata: &Metadata) -> Result<(), Box<DocumentError>> {
    let kind = metadata.file_type();
    let what = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a pipe (FIFO)",
        () if kind.is_socket() => "a socket",
        () if kind.is_block_device() => "a block device",
        () => "a character device",
    };
    let error = fault("not-a-file", path, format!("{} is {what}", path.display()));
    Err(error.accepted("a regular file").remedy("write the document to a file and name that").into())
}

fn content(path: &Path, file: &File, length: u64, largest: u64) -> Result<Vec<u8>, Box<DocumentError>> {
    let mut bytes = Vec::new();
    if length <= largest {
        // A file can have grown since its length was read.
        file.take(largest + 1).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    }
    let length = length.max(bytes.len() as u64);
    if length > largest {
        let error = fault("too-large", path, format!("{} has {length} bytes", path.display()));
        return Err(error
            .accepted(format!("a file of at most {largest} bytes"))
            .remedy("name the right file, or spread the document over several")
            .into());
    }
    Ok(bytes)
}

/// Refuses what somebody other than root could have written or put there.
fn trusted(path: &Path, metadata: &Metadata, owner: u32) -> Result<(), Box<DocumentError>> {
    let shown = path.display();
    let refuse = |problem: String, remedy: String| {
        let error = fault("writable-by-others", path, problem);
        Err(error
            .accepted("a document that only root can change, for it is applied as root")
            .remedy(remedy)
            .into())
    };
    if ![0, owner].contains(&metadata.uid()) {
        let problem = format!("{shown} belongs to user {}, not to root", metadata.uid());
        return refuse(problem, format!("look through it, then: chown root {shown}"));
    }
    if metadata.mode() & 0o022 != 0 {
        let problem = format!("{shown} can be written by others (mode {:04o})", metadata.mode() & 0o7777);
        return refuse(problem, format!("look through it, then: chmod go-w {shown}"));
    }
    // The directory of the name that was given, and that of the file behind a symbolic link.
    let resolved = std::fs::canonicalize(path).map_err(|error| unreadable(path, &error))?;
    for file in [path, &resolved] {
        let parent = match file.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let directory = std::fs::metadata(parent).map_err(|error| unreadable(parent, &error))?;
        // In a sticky directory only the owner can replace the file.
        if directory.mode() & 0o002 != 0 && directory.mode() & 0o1000 == 0 {
            let parent = parent.display();
            let problem =
                format!("others can put another file in the place of {shown}: anybody may write to {parent}");
            return refuse(problem, format!("look through it, then: chmod o-w {parent}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn read(path: &Path, user: u32, owner: u32) -> Documents {
        let user = Uid::from_raw(user);
        read_as(&[path.to_owned()], Reader { user, owner, largest: LARGEST })
    }

    fn codes(path: &Path, user: u32) -> Vec<&'static str> {
        read(path, user, 0).errors.iter().map(|error| error.code).collect()
    }

    fn write(path: &Path, bytes: &[u8], mode: u32) {
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_directory_is_read_by_name_without_hidden_files() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(codes(dir.path(), 1), ["no-document"]);
        for name in ["b.yaml", "a.yaml", ".c.yaml", "d.yml", "e.yaml~"] {
            write(&dir.path().join(name), name.as_bytes(), 0o644);
        }
        let documents = read(dir.path(), 1, 0);
        let names: Vec<_> = documents.sources.iter().map(|source| source.bytes.clone()).collect();
        assert_eq!(names, [b"a.yaml".to_vec(), b"b.yaml".to_vec()]);
    }

    #[test]
    fn a_directory_of_yml_files_says_what_to_rename() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("host.yml"), b"version: 1\n", 0o644);
        let documents = read(dir.path(), 1, 0);
        assert_eq!(documents.errors[0].remedy.as_deref(), Some("rename host.yml to end in .yaml"));
    }

    #[test]
    fn what_is_no_document_is_named_and_never_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(codes(&fifo, 1), ["not-a-file"]);
        assert_eq!(codes(Path::new("/dev/null"), 1), ["not-a-file"]);
        assert_eq!(codes(&dir.path().join("missing"), 1), ["no-document"]);
        let large = dir.path().join("large");
        File::create(&large).unwrap().set_len(100 << 20).unwrap();
        assert_eq!(codes(&large, 1), ["too-large"]);
        assert!(File::open(&large).is_ok() && codes(Path::new("/proc/self/mem"), 1) == ["unreadable"]);
    }

    #[test]
    fn what_is_private_can_be_read_by_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("plan.json");
        for content in [&b"one"[..], b"two"] {
            write_private(&file, content).unwrap();
            assert_eq!(fs::read(&file).unwrap(), content);
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
            fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(
            write_private(dir.path(), b"x").is_err() && write_private(Path::new("/dev/null"), b"x").is_err()
        );
        assert!(Path::new("/dev/null").exists());
    }

    #[test]
    fn root_refuses_what_others_can_write() {
        if !geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("host.yaml");
        write(&file, b"version: 1\n", 0o644);
        assert!(codes(&file, 0).is_empty());
        for mode in [0o664, 0o646, 0o666] {
            write(&file, b"version: 1\n", mode);
            assert_eq!(codes(&file, 0), ["writable-by-others"], "{mode:o}");
            assert!(codes(&file, 1).is_empty(), "{mode:o}");
        }
        write(&file, b"version: 1\n", 0o600);
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(codes(&file, 0), ["writable-by-others"]);
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(codes(&file, 0).is_empty());
        std::os::unix::fs::chown(&file, Some(1000), None).unwrap();
        assert_eq!(codes(&file, 0), ["writable-by-others"]);
        assert!(read(&file, 0, 1000).errors.is_empty(), "the owner of the tree may own its document");
    }
}
