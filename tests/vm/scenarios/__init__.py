"""Every scenario by its name. `.ci/run` runs the smoke set."""

from . import fresh

ALL = {
    "fresh-to-done": fresh.to_done,
}
SMOKE = ["fresh-to-done"]
