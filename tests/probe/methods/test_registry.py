"""The registry of methods: names, their options, and what is reported of others."""

import subprocess
import sys
from dataclasses import fields

import pytest

from stepcli.probe.methods.catalogue import Declared, declarations
from stepcli.probe.methods.registry import ProbeInfo, Registry, methods, parse_options
from stepcli.runtime.errors import UnknownName, UsageError


def test_unknown_names_list_close_ones() -> None:
    with pytest.raises(UnknownName, match="unknown method 'stepp'; did you mean step"):
        methods().get("stepp")
    with pytest.raises(UnknownName, match="option of method step 'head'; did you mean heads"):
        parse_options(methods().get("step"), {"head": "4"})


def test_values_that_do_not_fit_are_explained() -> None:
    step = methods().get("step")
    assert parse_options(step, {"heads": "4", "patch_pe": "true"}).model_dump()["heads"] == 4
    for name, value in (("heads", "four"), ("pe", "learnt"), ("pe_scale", "nan")):
        with pytest.raises(UsageError, match=f"method step: option {name}='{value}'"):
            parse_options(step, {name: value})


def test_a_second_method_of_one_name_is_refused() -> None:
    registry = Registry()
    info = methods().get("linear")
    registry.add(info)
    with pytest.raises(ValueError, match="'linear' is registered already"):
        registry.add(ProbeInfo("linear", info.build, info.options, "", order_aware=False))


def test_what_is_read_of_declarations_is_what_importing_them_gives() -> None:
    declared = declarations()
    assert sorted(declared) == [info.name for info in methods().built_in()]
    assert len(declared) > 20
    for info in methods().built_in():
        found = declared[info.name]
        for each in fields(Declared):
            if each.name != "options":
                assert getattr(found, each.name) == getattr(info, each.name), info.name
        assert found.settable == info.settable
        assert found.options.model_json_schema() == info.options.model_json_schema()
        for name in ("initial", "before", "later"):
            assert getattr(found.options, name) == getattr(info.options, name), info.name
        for values in ({}, *info.presets.values()):
            real = info.options.model_validate(values)
            assert found.options.model_validate(values).model_dump() == real.model_dump()


def test_options_of_a_built_in_method_are_known_without_torch() -> None:
    code = (
        "import sys; from stepcli.probe.methods.registry import described;"
        "from stepcli.probe.methods.catalogue import known_names;"
        "print([described(name).settable for name in known_names()]);"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
