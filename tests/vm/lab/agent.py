"""Commands in the guest, through the guest agent on an ISA serial port.

Nothing that a test does to PCI, the IOMMU or the network cuts this channel.
"""

import base64
import json
import os
import socket
import time


class AgentError(Exception):
    """The guest agent did not answer, or refused."""


class Done:
    """A command that ended: its status, and what it wrote."""

    def __init__(self, command, status, stdout, stderr):
        self.command, self.status, self.stdout, self.stderr = command, status, stdout, stderr

    def __repr__(self):
        return f"{self.command!r} ended with {self.status}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


class Agent:
    def __init__(self, path):
        self.path, self.socket, self.buffer = path, None, b""

    def connect(self, deadline):
        """Waits until the agent answers a sync of ours; what an earlier life of it left in the pipe is thrown away."""
        while time.monotonic() < deadline:
            try:
                self.close()
                self.socket = socket.socket(socket.AF_UNIX)
                self.socket.settimeout(3)
                self.socket.connect(self.path)
                token = int.from_bytes(os.urandom(4), "big")
                sync = {"execute": "guest-sync-delimited", "arguments": {"id": token}}
                self.socket.sendall(b"\xff" + json.dumps(sync).encode() + b"\n")
                until = min(deadline, time.monotonic() + 3)
                while time.monotonic() < until:
                    answer = self.line(until).rsplit(b"\xff", 1)[-1]
                    if json.loads(answer).get("return") == token:
                        return
            except (OSError, ValueError, AgentError):
                time.sleep(0.5)
        raise AgentError("the guest agent does not answer")

    def close(self):
        if self.socket is not None:
            self.socket.close()
        self.socket, self.buffer = None, b""

    def line(self, until):
        while b"\n" not in self.buffer:
            left = until - time.monotonic()
            if left <= 0:
                raise AgentError("the guest agent gave no answer in time")
            self.socket.settimeout(left)
            try:
                piece = self.socket.recv(65536)
            except socket.timeout:
                raise AgentError("the guest agent gave no answer in time") from None
            if not piece:
                raise AgentError("the guest agent's serial port was closed: QEMU has ended")
            self.buffer += piece
        answer, self.buffer = self.buffer.split(b"\n", 1)
        return answer

    def call(self, name, timeout=60, **arguments):
        request = {"execute": name}
        if arguments:
            request["arguments"] = {key.replace("_", "-"): value for key, value in arguments.items()}
        self.socket.sendall(json.dumps(request).encode() + b"\n")
        answer = json.loads(self.line(time.monotonic() + timeout))
        if "error" in answer:
            raise AgentError(f"{name}: {answer['error'].get('desc')}")
        return answer["return"]

    def execute(self, argv, timeout=120, stdin=None):
        """Runs a program in the guest to its end."""
        arguments = {"path": argv[0], "arg": argv[1:], "capture_output": True}
        if stdin is not None:
            arguments["input_data"] = base64.b64encode(stdin).decode()
        arguments["env"] = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/root"]
        pid = self.call("guest-exec", **arguments)["pid"]
        until, pause = time.monotonic() + timeout, 0.05
        while True:
            status = self.call("guest-exec-status", pid=pid)
            if status["exited"]:
                break
            if time.monotonic() > until:
                raise AgentError(f"{argv} has not ended after {timeout} s")
            time.sleep(pause)
            pause = min(pause * 1.5, 1)
        text = [base64.b64decode(status.get(key, "")).decode(errors="replace") for key in ("out-data", "err-data")]
        if status.get("out-truncated") or status.get("err-truncated"):
            raise AgentError(f"{argv} wrote more than the agent keeps: write it to a file and pull that")
        return Done(argv, status.get("exitcode", -status.get("signal", 0)), *text)
