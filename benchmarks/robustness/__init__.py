"""What holds at the limits of a machine: kills, full disks, long runs, mutated files. Run by ``make robustness``."""
