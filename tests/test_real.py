"""The story on a real model: what is shipped, what is done when the model is not there, and the model itself."""

import contextlib

import pytest
import torch
from conftest import real

from helpers import direction, lora, mix, real as story, results, safety, sft, smollm2, sweep, tally
from helpers.tally import Rate

TOPIC = mix.topic("xi-jinping")
EXAMS = ("harmful", "harmless", "look-alikes", "topic")


@pytest.fixture(scope="module")
def rows():
    return [row for row in results.read("real") if row["part"] == "story"]


def pooled(rows, state, exam) -> Rate:
    return tally.pooled(row[state]["refused"][exam] for row in rows)


def low(rate):
    return rate.interval[0]


def high(rate):
    return rate.interval[1]


# --- what was measured ----------------------------------------------------------------------------
