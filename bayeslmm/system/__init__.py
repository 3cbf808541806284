"""Files, disks, memory, versions."""
