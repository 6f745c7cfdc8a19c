"""The human demonstrations of the robosuite wheel, through the same recorder."""

from __future__ import annotations

import numpy as np

from trainer.episodes.memory import MemoryEpisode
from trainer.simulation.human import HumanDemo, lift_demos, record_demo


def test_a_human_demo_is_recorded_with_exact_flow() -> None:
    demos = lift_demos()
    assert [demo.name for demo in demos] == ["demo_1", "demo_2", "demo_3"]
    assert all(demo.succeeded() for demo in demos)
    demo = demos[2]
    assert np.abs(demo.actions[:, :6]).max() <= 1.0
    short = HumanDemo(name=demo.name, scene=demo.scene, states=demo.states[-41:], actions=demo.actions[-41:])
    episode = MemoryEpisode(record_demo(short, resolution=128, frame_stride=40))
    assert episode.info.outcome == "success"
    cube = episode.body_names.index("cube_main")
    rows, columns = np.nonzero(episode.body("static", 0) == cube)
    assert len(rows) > 10
    tracks = episode.tracks("static", 0, np.stack([columns, rows], 1) + 0.5, np.array([0, 40]))
    seen = tracks.visible[:, 1]
    assert seen.mean() > 0.5
    columns, rows = tracks.uvz[seen, 1, :2].astype(int).T
    assert np.median(np.abs(episode.depth("static", 40)[rows, columns] - tracks.uvz[seen, 1, 2])) < 2e-3
    assert np.mean(episode.body("static", 40)[rows, columns] == cube) > 0.9
