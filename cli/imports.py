"""`import`: files of orders or partners, safe to repeat."""

from collections.abc import Iterator, Sequence
from itertools import batched
