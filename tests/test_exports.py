"""What the package shows to its users: the names in `__all__`, and nothing else by accident."""

import importlib
import inspect
from types import ModuleType

import pytest

import manifest

# The packages whose names are promised; what else can be imported may change without notice.
PUBLIC = ("manifest", "manifest.crdt", "manifest.testing")


@pytest.fixture(params=PUBLIC)
def package(request: pytest.FixtureRequest) -> ModuleType:
    """Each of the public packages."""
    return importlib.import_module(request.param)


def test_all_is_sorted_and_without_repeats(package: ModuleType) -> None:
    """`__all__` holds constants, then classes, then functions, each from A to Z, and none twice."""
    assert list(package.__all__) == sorted(set(package.__all__), key=place_in_all)


def test_what_is_listed_can_be_imported(package: ModuleType) -> None:
    """Each name in `__all__` is there, and none starts with an underscore."""
    assert [name for name in package.__all__ if not hasattr(package, name)] == []
    assert [name for name in package.__all__ if name.startswith("_")] == []


def test_what_is_shown_is_listed(package: ModuleType) -> None:
    """A package holds no name without an underscore that `__all__` lacks, submodules apart."""
    shown = {
        name
        for name, value in vars(package).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert shown - {"annotations"} <= set(package.__all__)


def test_what_is_listed_is_documented(package: ModuleType) -> None:
    """The docstring of a public package, and of all that it lists, opens with a sentence."""
    wrong = [
        f"{name or package.__name__}: {opening!r}"
        for name in ("", *package.__all__)
        if not is_sentence(opening := first_docstring_line(package, name))
    ]
    assert wrong == []


def place_in_all(name: str) -> tuple[int, str]:
    """Return what `__all__` is sorted by: the kind of a name, told by its case, and the name."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def first_docstring_line(package: ModuleType, name: str) -> str:
    """Return the first docstring line of what a name stands for, of its type for a constant."""
    value = getattr(package, name) if name else package
    if not (inspect.ismodule(value) or inspect.isclass(value) or inspect.isroutine(value)):
        value = type(value)
        if not value.__module__.startswith("manifest"):
            return "A constant of a type that is not ours."
    # Not `inspect.getdoc`, which takes a parent's docstring for a class that has none of its own.
    return (value.__doc__ or "").strip().partition("\n")[0]


def is_sentence(text: str) -> bool:
    """Return whether a line has several words, begins like a sentence and ends like one."""
    return " " in text and text.endswith((".", "?", "!")) and not text[0].islower()


@pytest.mark.parametrize(
    "text", ["", "Stamp(time, node)", "a stamp.", "Stamp.", "A stamp, which is"]
)
def test_what_is_no_sentence_is_found(text: str) -> None:
    """An empty docstring, a generated signature and a fragment do not pass for sentences."""
    assert not is_sentence(text)


@pytest.mark.parametrize(
    "public, members",
    [
        (
            manifest.Manifest,
            (
                "aclose connect events free get id links listen listening name pick register "
                "registered services statistics wait_for"
            ),
        ),
        (manifest.Link, "close dialled status traffic wait_changed wait_synced"),
    ],
)
async def test_a_manifest_and_its_links_show_what_is_for_applications(
    public: type, members: str
) -> None:
    """Neither class has a public attribute beyond these, of its instances' own included."""
    async with manifest.open_manifest() as m:
        thing: object = m if public is manifest.Manifest else m.connect(1)
        assert isinstance(thing, public)
        shown = {name for name in {*vars(public), *vars(thing)} if not name.startswith("_")}
    assert shown == set(members.split())


def test_without_hypothesis_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The part for tests comes with an extra, and names it where it was not installed."""
    testing = importlib.import_module("manifest.testing")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"its extra testing, .*\[testing\]"):
        importlib.reload(testing)
