"""Every scenario by its name. `.ci/run` runs the smoke set."""

from . import bad_days, boot, fresh, live

ALL = {
    "fresh-to-done": fresh.to_done,
    "vf-counts": live.vf_counts,
    "bindings": live.bindings,
    "kernel-args": boot.kernel_args,
    "initramfs": boot.initramfs,
    "unit": live.unit,
    "other-host": bad_days.other_host,
    "without-iommu": bad_days.without_iommu,
}
SMOKE = ["fresh-to-done"]
# Fewer than these are not what `--smoke` and `--all` promise.
FLOOR = {"smoke": 1, "all": 8}
