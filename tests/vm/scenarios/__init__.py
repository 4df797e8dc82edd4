"""Every scenario by its name. `.ci/run` runs the smoke set."""

from . import fresh, live

ALL = {
    "fresh-to-done": fresh.to_done,
    "vf-counts": live.vf_counts,
    "bindings": live.bindings,
    "other-host": live.other_host,
    "unit": live.unit,
}
SMOKE = ["fresh-to-done"]
