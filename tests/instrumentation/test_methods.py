"""The methods that keep their names."""

import pytest

from telemetry.instrumentation.labels import known_methods


def test_the_registered_methods_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", raising=False)
    assert known_methods() == {
        "CONNECT",
        "DELETE",
        "GET",
        "HEAD",
        "OPTIONS",
        "PATCH",
        "POST",
        "PUT",
        "QUERY",
        "TRACE",
    }


def test_a_list_in_the_environment_replaces_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", "GET, PURGE,,")
    assert known_methods() == {"GET", "PURGE"}


def test_an_empty_list_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", " , ")
    assert "GET" in known_methods()
