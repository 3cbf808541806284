"""The commands of ``bayeslmm``: one file each."""
