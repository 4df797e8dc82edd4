//! Initramfs generators: one file each behind one small trait.
