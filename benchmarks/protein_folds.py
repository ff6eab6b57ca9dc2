"""Clusters of the 129 domains by sequence or fold, which decide the sides of configs/train/protein_*.yaml.

    python benchmarks/protein_folds.py     (some minutes on one CPU core)
    python benchmarks/protein_folds.py my_structures/     (which of a folder may train beside them)

Joined, by single linkage: a local BLOSUM62 alignment (gaps -11, -1) of 50 or more; or CA traces that superpose, shifted
along each other without gaps over 70 % of the shorter one, with a TM-score of 0.5 or more (Zhang and Skolnick 2004, doi
10.1002/prot.20264), by the length of the shorter. Clusters of at most six, in the order of a hash of their first name:
ten test, five validate; the others are dealt, largest first, to the smaller of two halves (guide, auditor). Other
structures train the backbone unless they are joined to a test or validation protein, directly or through each other.
"""

import hashlib
import sys

import numpy as np
from Bio.Align import PairwiseAligner, substitution_matrices
from scipy.sparse.csgraph import connected_components

from gendesign.data.structures import read_structures


def tm_score(a: np.ndarray, b: np.ndarray) -> float:
    """The best over shifts."""
    a, b = (b, a) if len(a) > len(b) else (a, b)
    size, least = len(a), int(0.7 * len(a))
    scale = max(1.24 * (max(size, 19) - 15) ** (1 / 3) - 1.8, 0.5)
    best = 0.0
    for shift in range(least - size, len(b) - least + 1):
        low, high = max(0, -shift), min(size, len(b) - shift)
        if high - low < least:
            continue
        p, q = a[low:high], b[low + shift : high + shift]
        p, q = p - p.mean(0), q - q.mean(0)
        u, _, v = np.linalg.svd(p.T @ q)
        turn = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ v))]) @ v
        error = ((p @ turn - q) ** 2).sum(1)
        best = max(best, float((1 / (1 + error / scale**2)).sum()) / size)
    return best


def joined_pairs(proteins: list) -> np.ndarray:
    """Which two are near in sequence or fold."""
    aligner = PairwiseAligner(mode="local", open_gap_score=-11, extend_gap_score=-1)
    aligner.substitution_matrix = substitution_matrices.load("BLOSUM62")
    joined = np.eye(len(proteins), dtype=bool)
    for i, one in enumerate(proteins):
        for j, other in enumerate(proteins[:i]):
            near = aligner.score(one.sequence, other.sequence) >= 50
            near = near or tm_score(one.coordinates[:, 1], other.coordinates[:, 1]) >= 0.5
            joined[i, j] = joined[j, i] = near
    return joined


def main(others: str = "data:protein_structures") -> None:
    """Print the sides."""
    proteins = read_structures("data:megascale_backbones")
    num = len(proteins)
    proteins += read_structures(others)
    names = [one.name for one in proteins]
    joined = joined_pairs(proteins)
    _, label = connected_components(joined[:num, :num], directed=False)
    clusters = [[names[j] for j in np.flatnonzero(label == c)] for c in np.unique(label)]
    small = sorted(
        (c for c in clusters if len(c) <= 6), key=lambda c: hashlib.sha256(min(c).encode()).hexdigest()
    )
    sides = {"test": sum(small[:10], []), "val": sum(small[10:15], []), "guide": [], "auditor": []}
    for cluster in sorted((c for c in clusters if c not in small[:15]), key=lambda c: -len(c)):
        smaller = "guide" if len(sides["guide"]) <= len(sides["auditor"]) else "auditor"
        sides[smaller] += cluster
    judged = [i for i, name in enumerate(names) if i >= num or name in sides["test"] + sides["val"]]
    _, label = connected_components(joined[np.ix_(judged, judged)], directed=False)
    unseen = {label[k] for k, i in enumerate(judged) if i < num}
    sides["other, leave out"] = [names[i] for k, i in enumerate(judged) if i >= num and label[k] in unseen]
    sides["other, train"] = [n for n in names[num:] if n not in sides["other, leave out"]]
    for side, members in sides.items():
        print(f"{side} ({len(members)}): {', '.join(members)}")
    for i in range(num, len(names)):
        near = [names[j] for j in np.flatnonzero(joined[i]) if j != i]
        print(f"{names[i]} is near: {', '.join(near) or 'nothing'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
