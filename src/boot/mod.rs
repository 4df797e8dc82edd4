//! Boot chains: where kernel arguments persist, one file each behind one small trait.
