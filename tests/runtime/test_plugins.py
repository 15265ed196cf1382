"""Objects of installed packages: real dist-info folders on the search path."""

import pytest
from installed_package import Installer

from stepcli.runtime.errors import UsageError
from stepcli.runtime.plugins import find_plugin, plugins

GROUP = "stepcli.methods"


def test_packages_are_listed_without_importing_them(install: Installer) -> None:
    install("plug_a", "1 / 0", {f"{GROUP}: a": "plug_a:A", f"{GROUP}: b": "plug_a:B"})
    found = plugins(GROUP)
    assert {name: each[0].package for name, each in found.items()} == {
        "a": "plug_a 1.0",
        "b": "plug_a 1.0",
    }
    plugin = find_plugin(GROUP, "a", {"step"})
    assert plugin is not None
    assert plugin.sha256 == ""
    said = r"a of the package plug_a 1.0 \(plug_a:A\) cannot be loaded: ZeroDivisionError"
    with pytest.raises(UsageError, match=said):
        plugin.load()
    assert find_plugin(GROUP, "c", {"step"}) is None


def test_an_object_is_loaded_with_the_digest_of_its_file(install: Installer) -> None:
    file = install("plug_b", "A = 7", {f"{GROUP}: a": "plug_b:A", f"{GROUP}: none": "plug_b:None_"})
    plugin, without = (find_plugin(GROUP, name, ()) for name in ("a", "none"))
    assert plugin is not None
    assert plugin.load() == 7
    assert len(plugin.sha256) == 64
    first = plugin.sha256
    file.write_text("A = 8")
    assert plugin.sha256 != first
    assert without is not None
    with pytest.raises(UsageError, match="cannot be loaded: AttributeError"):
        without.load()


@pytest.mark.parametrize("code", ["raise SystemExit(1)", "import no_such_module", "def ("])
def test_a_broken_package_is_one_line(code: str, install: Installer) -> None:
    install("plug_c", code, {f"{GROUP}: c": "plug_c:C"})
    plugin = find_plugin(GROUP, "c", ())
    assert plugin is not None
    with pytest.raises(UsageError, match=r"c of the package plug_c 1.0"):
        plugin.load()


def test_a_name_that_two_define_names_both(install: Installer) -> None:
    install("plug_d", "", {f"{GROUP}: step": "plug_d:S", f"{GROUP}: twice": "plug_d:T"})
    install("plug_e", "", {f"{GROUP}: twice": "plug_e:T", f"{GROUP}: once": "plug_e:O"}, "2.1")
    with pytest.raises(UsageError, match=r"by stepcli itself and by plug_d 1.0 \(plug_d:S\)"):
        find_plugin(GROUP, "step", {"step"})
    with pytest.raises(UsageError, match=r"by plug_. .* and by plug_. "):
        find_plugin(GROUP, "twice", {"step"})
    assert find_plugin(GROUP, "once", {"step"}) is not None
