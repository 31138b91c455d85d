"""python pytorch_ood_scores.py FEATURES SCORES: pytorch-ood's detectors on features that another process has written.

Runs in an environment of its own, with torch and pytorch-ood; it knows nothing of envise-tf. FEATURES is an .npz:
`fitted`, float32 (n, d), and `group`, int64 (n,), 0, 1, ... without gaps, fit the detectors; `tested`, float32 (m, d),
is scored; `kernel`, (d, classes), and `bias`, (classes,), are the last layer; the other entries are parameters by name.
SCORES, an .npz too, gets the scores of each detector, float64 (m,), larger = more outlier, and the version.
"""

from __future__ import annotations

import importlib.metadata
import sys

import numpy as np
import torch
from pytorch_ood import detector


def main(features: str, scores: str) -> None:
    """Writes the scores."""
    with np.load(features, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    fitted, tested, group = (torch.from_numpy(arrays[name]) for name in ("fitted", "tested", "group"))
    kernel, bias = (torch.from_numpy(arrays[name]) for name in ("kernel", "bias"))
    head = torch.nn.Linear(*kernel.shape)
    head.weight.data, head.bias.data = kernel.T.contiguous(), bias
    found: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        logits = head(tested)
        of_logits = {
            "energy": detector.EnergyBased(None),
            "gen": detector.GEN(None, gamma=float(arrays["gamma"]), M=int(arrays["top"])),
            "max_logit": detector.MaxLogit(None),
            "msp": detector.MaxSoftmax(None),
        }
        for name, each in of_logits.items():
            found[name] = each.predict_logits(logits)
        of_features = {
            "fdbd": detector.fDBD(None, head),
            "knn": detector.KNN(None, k=int(arrays["neighbours"])),
            "mahalanobis": detector.Mahalanobis(None),
            "nci": detector.NCI(None, head, alpha=float(arrays["alpha"])),
            "relative_mahalanobis": detector.RMD(None),
            "vim": detector.ViM(None, d=int(arrays["principal"]), w=kernel.T, b=bias),
        }
        for name, each in of_features.items():
            found[name] = each.fit_features(fitted, group).predict_features(tested)
        clipped = detector.ReAct(None, head, percentile=float(arrays["percentile"]) / 100)
        found["react"] = clipped.fit_feature_maps(fitted, group).predict_feature_maps(tested)
    version = f"pytorch-ood {importlib.metadata.version('pytorch-ood')}, torch {torch.__version__}"
    np.savez(scores, version=version, **{name: values.double().numpy() for name, values in found.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
