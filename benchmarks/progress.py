"""A bar while it runs."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from tqdm import tqdm

_Item = TypeVar("_Item")


def bar(items: Sequence[_Item], what: str) -> Iterable[_Item]:
    """The items, with a bar on the terminal that says how many are done."""
    return tqdm(items, desc=f"{what:<12}", leave=False, unit="round")
