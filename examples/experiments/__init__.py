"""The experiments of Mack et al. 2020 on the street's own states."""
