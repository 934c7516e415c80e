"""``%aiki_health`` in a real kernel: a live board where widgets are, a picture elsewhere."""

from __future__ import annotations

import pytest
from notebook_driver import Notebook

pytestmark = pytest.mark.slow

VIEW = "application/vnd.jupyter.widget-view+json"


def test_the_board_lives_in_a_notebook_and_leaves_its_picture(
    environment: dict[str, str],
) -> None:
    kernel = Notebook(env=environment)
    try:
        batch = kernel.run("%aiki_health")  # papermill names no cell
        (shown,) = batch.of("display_data")
        assert VIEW not in shown["data"]
        assert "<table" in shown["data"]["text/html"]
        live = kernel.run("%aiki_health", cell="a")
        (content,) = live.of("display_data")
        assert VIEW in content["data"]
        assert "<table" in content["data"]["text/html"]
        assert kernel.python("print(1 + 1)") == "2"
        kernel.client.shutdown()
        while True:
            message = kernel.client.get_iopub_msg(timeout=20)
            if message["msg_type"] == "update_display_data":
                break
        assert message["content"]["transient"] == content["transient"]
        assert VIEW not in message["content"]["data"]
        assert "<table" in message["content"]["data"]["text/html"]
    finally:
        kernel.close()
