"""Files, disks, memory and versions."""
