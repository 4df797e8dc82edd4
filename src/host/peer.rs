//! A child process of this same binary that does what may sleep in the kernel for ever, and can be left behind.

use std::io::{self, Write};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::HostError;

/// It takes requests on its standard input and answers on its standard output. Dropped, it sees the end of its input; as
/// long as it waits for a request, that ends it at once.
#[derive(Debug)]
pub(super) struct Peer {
    requests: Option<ChildStdin>,
    replies: ChildStdout,
    child: Child,
    /// Whether a request waits for its answer.
    busy: bool,
}

impl Peer {
    /// Starts `program` with a hidden `verb` below `root`.
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    pub(super) fn start(program: &Path, verb: &str, root: &Path) -> Result<Self, HostError> {
        let fail = |error| HostError::new("run", program, error);
        // Its own process group: ^C on the terminal must not reach a write half done. Nothing inherited that a child
        // left behind would keep open for others: not the terminal or a pipe of whoever waits for our output to end.
        let mut child = Command::new(program)
            .arg(verb)
            .arg(std::path::absolute(root).map_err(fail)?)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(fail)?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(requests), Some(replies)) => {
                Ok(Self { requests: Some(requests), replies, child, busy: false })
            }
            _ => Err(fail(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Sends a request.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), io::Error> {
        self.busy = true;
        self.requests.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.write_all(bytes)
    }

    /// Where its answers come.
    pub(super) fn replies(&self) -> &ChildStdout {
        &self.replies
    }

    /// Takes the answer to a request.
    pub(super) fn receive<T>(
        &mut self,
        read: impl FnOnce(&mut ChildStdout) -> Result<T, io::Error>,
    ) -> Result<T, io::Error> {
        let answer = read(&mut self.replies)?;
        self.busy = false;
        Ok(answer)
    }

    /// How one that no longer serves has ended. It is at its end, or comes there with that of its input.
    pub(super) fn end(mut self, problem: &io::Error) -> String {
        self.requests = None;
        self.child.wait().map_or_else(|_| problem.to_string(), |status| status.to_string())
    }

    /// Leaves it to what it does; a signal would only make its sleep uninterruptible. Returns its process id.
    pub(super) fn abandon(self) -> u32 {
        self.child.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.requests = None;
        // One that is at work may never end.
        if !self.busy {
            let _ = self.child.wait();
        }
    }
}
