"""Every scenario by its name: add a function in a file here, and its line. `.ci/run` runs the smoke set."""

from . import bad_days, boot, chains, fresh, live, moved, power, prediction, proof, refused, scale

ALL = {
    # On one machine, one after another.
    "vf-counts": live.vf_counts,
    "bindings": live.bindings,
    "between-rounds": prediction.between_rounds,
    "wrong-model": prediction.wrong_model,
    "unit": live.unit,
    "refused": refused.refused,
    "hang": refused.hang,
    "nested-guest": proof.nested_guest,
    # On a machine each, the longest first.
    "dracut": chains.dracut,
    "systemd-boot": chains.systemd_boot,
    "grub": chains.grub,
    "kernel-args": boot.kernel_args,
    "fresh-to-done": fresh.to_done,
    "changed-topology": moved.changed_topology,
    "initramfs": boot.initramfs,
    "power-cut": power.power_cut,
    "scale": scale.several_hundred_vfs,
    "other-host": bad_days.other_host,
    "without-iommu": bad_days.without_iommu,
}
SMOKE = ["fresh-to-done", "without-iommu"]
# Fewer than these are not what `--smoke` and `--all` promise.
FLOOR = {"smoke": 2, "all": 16}
