"""Links and the state of one visitor."""

from __future__ import annotations

import pytest

from model.errors import ConfigError
from tests.factories import make_recording
from trainer.episodes.packed import save_packed
from workbench.catalog import Catalog
from workbench.session import Link, Session, nearest_step, open_session, parse_link

ID = "0123456789ab"


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    root = tmp_path_factory.mktemp("episodes")
    for seed in (0, 1):
        save_packed(make_recording(length=9, size=(16, 16), seed=seed), root / str(seed))
    return Catalog(episode_roots=[root])


def test_a_link_is_read() -> None:
    query = {"checkpoint": ID, "episode": "f" * 12, "t": "84"}
    assert parse_link(query) == Link(checkpoint=ID, episode="f" * 12, step=84)
    assert parse_link({}) == Link()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("episode", "../../etc/passwd"),
        ("checkpoint", "/root/x"),
        ("checkpoint", ID.upper() + "G"),
        ("t", "-1"),
        ("t", "1e3"),
        ("t", "12345678"),
    ],
)
def test_bad_links_are_refused_without_repeating_them(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}'") as caught:
        parse_link({name: value})
    assert value not in str(caught.value)


def test_a_link_says_episode_and_time(catalog: Catalog) -> None:
    _, second = catalog.episodes()
    session = open_session(catalog, Link(episode=second.id, step=5))
    assert session.episode == second
    assert session.step == 5


def test_the_nearest_step_with_an_image() -> None:
    steps = (0, 2, 4, 6, 8)
    assert [nearest_step(steps, wanted) for wanted in (5, 999, 3, 0)] == [4, 8, 2, 0]  # of two neighbours the earlier
    assert nearest_step((), 7) == 0


def test_unknown_ids_say_so(catalog: Catalog) -> None:
    with pytest.raises(ConfigError, match="no episode of that id"):
        open_session(catalog, Link(episode=ID))
    with pytest.raises(ConfigError, match="no checkpoint of that id"):
        open_session(catalog, Link(checkpoint=ID))


def test_a_workbench_without_anything_still_opens() -> None:
    assert open_session(Catalog(), Link()) == Session(checkpoint=None, episode=None, step=0)
