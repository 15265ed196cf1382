"""The whole way in Python, cell by cell: open a store, train, look at the numbers, ask the probe.

Editors that know notebooks run the `# %%` cells one by one; `python docs/notebook.py STORE VIDEO`
runs them all. The store: that of `stepcli demo`, `demo-out/store`; the video: any of
`examples/openclose/clips`.
"""

# %%
import sys

import numpy as np
import torch

from stepcli.apply.prediction.api import load_probe, open_store, predict, train
from stepcli.probe.analysis.explain import attention
from stepcli.probe.data.tokens import TokenBatch

store = open_store(sys.argv[1])
video = sys.argv[2]
print(f"{len(store)} clips of {store.dataset}, {store.spec.frames} frames, {store.spec.backbone}")
print("tokens of a clip:", store.read_floats(store.ids[:1]).shape)

# %% Does a probe that sees order know opening from closing, and one that does not?
task = {"name": "arrow", "clip_frames": 8, "temporal_crop": True}
runs = {}
for method in ("linear", "step"):
    (record,) = train(store.path, method, runs="runs", task=task, shared={"epochs": 10})
    runs[method] = f"runs/{record.run}"
    print(f"{method}: forced choice {100 * (record.forced_choice or 0):.1f} %")

# %% Ask the trained probe about a video; it is decoded as the store's videos were.
probe = load_probe(runs["step"])
(answer,) = predict(probe, video, top=3)
for entry in answer["windows"][0]["top"]:
    print(f"{100 * entry['probability']:5.1f} %  {entry['label']}")

# %% Where does it look? Attention over the frames of a stored clip, mean over the heads.
tokens = torch.from_numpy(store.read_floats(store.ids[:1])[:, :8]).to(probe.device)
over_frames = attention(probe.probes[0].probe, TokenBatch(tokens)).over_frames[0].mean(dim=0)
print("attention over frames:", np.round(over_frames.cpu().numpy(), 2))
