"""Both clients have the same methods, and each method is the call of its name."""

from __future__ import annotations

import inspect
import re

import pytest

import runledger
from runledger import AsyncClient, Client, _calls

CALLS = {
    name: make
    for name, make in vars(_calls).items()
    if inspect.isfunction(make)
    and re.match(r"(One|Maybe|Many|Value)\[", str(make.__annotations__.get("return")))
    and not name.startswith("_")
}
OWN = {"connect", "close", "run", "workflow"}


def verbs(cls: type) -> dict[str, object]:
    return {name: value for name, value in vars(cls).items() if not name.startswith("_") and name not in OWN}


def test_each_client_has_one_method_per_call():
    assert len(CALLS) > 30
    assert list(verbs(Client)) == list(CALLS)
    assert list(verbs(AsyncClient)) == list(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_a_method_takes_and_tells_what_its_call_does(name: str):
    make, sync, awaited = inspect.signature(CALLS[name]), getattr(Client, name), getattr(AsyncClient, name)
    for method in (sync, awaited):
        signature = inspect.signature(method)
        assert list(signature.parameters.values())[1:] == list(make.parameters.values())
        assert method.__name__ == name
        assert inspect.getdoc(method) == inspect.getdoc(CALLS[name])
    assert inspect.signature(sync) == inspect.signature(awaited)
    assert not inspect.iscoroutinefunction(sync)
    assert inspect.iscoroutinefunction(awaited)
    returns = inspect.signature(sync).return_annotation
    assert re.fullmatch(r"[A-Z]\w+( \| None)?|list\[([A-Z]\w+|str)\]|int|bool|str|datetime( \| None)?", returns), (
        "what the method returns"
    )


@pytest.mark.parametrize("name", CALLS)
def test_a_call_names_its_function_and_takes_at_most_two_arguments_by_position(name: str):
    assert f"Calls `runledger.{name}`." in inspect.getdoc(CALLS[name])
    parameters = list(inspect.signature(CALLS[name]).parameters.values())
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters[2:])
    assert all(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters[:1])
    assert all(p.default in (None, p.empty) for p in parameters), "None is the default of the database"


def test_the_clients_share_the_rest_too():
    for name in OWN | {"__init__"}:
        sync, awaited = getattr(Client, name), getattr(AsyncClient, name)
        assert list(inspect.signature(sync).parameters) == list(inspect.signature(awaited).parameters)
        assert inspect.getdoc(sync) == inspect.getdoc(awaited)


def test_the_package_exports_few_names_in_order():
    assert runledger.__all__ == sorted(runledger.__all__)
    assert len(runledger.__all__) <= 25
    assert all(hasattr(runledger, name) for name in runledger.__all__)
