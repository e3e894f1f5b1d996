"""Figures of Mack, Arcucci, Molina-Solana, Guo 2020 (Comput. Methods Appl. Mech. Engrg. 372), for comparison with ours.

Their data, the pressure of the MAGIC project's South London site on a grid of 91 × 85 × 32, are private: another flow,
another grid, another machine. Only the order of the systems and their ratios can be compared.
"""

LABEL = "MAGIC"  # in headings of columns
NOTE = (
    "MAGIC: figures of Mack, Arcucci, Molina-Solana, Guo 2020 on their own data (pressure, South London, n = 247,520, "
    "S = 791), another data set and another machine."
)
BACKGROUND = 1.0001  # error
# {network: (error, seconds, parameters)}, Table 1
NETWORKS = {
    "Backbone": (0.1665, 0.0897, 0.3e6),
    "ResNeXt3-27-1-vanilla+CBAM": (0.1548, 0.1693, 3.5e6),
    "RDB3-27-4-vanilla+CBAM": (0.1594, 0.4666, 25.6e6),
    "RAB-4-NeXt": (0.1723, 0.1192, 1.3e6),
    "GRDN-NeXt+CBAM": (0.1241, 0.0983, 4.7e6),
    "Tucodec-NeXt": (0.0787, 0.0537, 2.5e6),
    "Tucodec-vanilla": (0.0809, 0.1294, 10.6e6),
}
# {M / n: (error, seconds)} of TSVD with τ modes and of τ = S = 791, Tables 2 and 3
TAU = 32
TRUNCATED = {1.0: (0.1270, 1.8597), 0.1: (0.1270, 0.2627), 0.01: (0.1334, 0.0443), 0.001: (0.1680, 0.0390)}
REDUCED = {1.0: (0.09132, 2.5009), 0.1: (0.0923, 0.3182), 0.01: (0.1046, 0.0481), 0.001: (0.1403, 0.0410)}
# {τ: error} with everything observed; more than 150 modes do no better
MODES = {1: 0.386, 2: 0.239, 4: 0.211, 12: 0.154, 16: 0.148, 32: 0.127, 100: 0.0930, 150: 0.0913}
