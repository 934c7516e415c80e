"""jupyter_kernel_test with every attribute configured; each message is validated."""

from __future__ import annotations

import os
import shutil
import tempfile
import unittest

import jupyter_kernel_test as jkt
from fault_server import FaultServer
from kernel_home import home_environment

P = "%%python\n"


class _WithServer:
    """Puts the scripted server and a private home into the kernel's environment."""

    @classmethod
    def setUpClass(cls) -> None:
        cls._server = FaultServer()
        cls._server.__enter__()
        cls._folders = [tempfile.mkdtemp(prefix="aiki-j", dir="/tmp") for _ in range(2)]
        variables = {**home_environment(*cls._folders), **cls._server.environment("ok", "test")}
        cls._before = dict(os.environ)
        os.environ.update(variables)
        super().setUpClass()

    @classmethod
    def tearDownClass(cls) -> None:
        super().tearDownClass()
        os.environ.clear()
        os.environ.update(cls._before)
        cls._server.__exit__()
        for folder in cls._folders:
            shutil.rmtree(folder, ignore_errors=True)


class TestConformance(_WithServer, jkt.KernelTests):
    kernel_name = "aiki"
    language_name = "aiki"
    file_extension = ".aiki"
    code_hello_world = P + "print('hello, world')"
    code_stderr = P + "import sys; print('test', file=sys.stderr)"
    completion_samples = (
        {
            "text": "%aiki_",
            "matches": {
                "%aiki_backend",
                "%aiki_bench",
                "%aiki_config",
                "%aiki_consult",
                "%aiki_cost",
                "%aiki_health",
                "%aiki_memory",
                "%aiki_model",
                "%aiki_persona",
                "%aiki_route",
                "%aiki_session",
            },
        },
        {"text": "%aiki_mem", "matches": {"%aiki_memory"}},
        {"text": P + "zi", "matches": {"zip"}},
    )
    complete_code_samples = (
        *("tell me a story", "what's up?", "%aiki_model -h"),
        *("%%aiki\nTwo\nlines.\n", P + "1 + 1", P + "x = 1\n", P + "x = 1\nprint(x)"),
    )
    incomplete_code_samples = (
        *(P, P + "x = 1", P + "def f(x):\n  x*2"),
        *("%%aiki --model local", "%%aiki\nTwo", "Two\\"),
        "Look at this:\n```python\nx = 1",
    )
    invalid_code_samples = (P + "import = 7q",)
    code_page_something = "?zip"
    code_generate_error = "%%aiki --model test/401\nhello"
    code_execute_result = (
        {"code": P + "1+2+3", "result": "6"},
        {"code": P + "[n*n for n in range(1, 4)]", "result": "[1, 4, 9]"},
    )
    code_display_data = (
        {"code": "hello", "mime": "text/markdown"},
        {"code": "hello", "mime": "text/plain"},
        {
            "code": P + "from IPython.display import HTML, display; display(HTML('<b>t</b>'))",
            "mime": "text/html",
        },
    )
    code_history_pattern = P + "1?2*"
    supported_history_operations = ("tail", "search")
    code_inspect_sample = "zip"
    code_clear_output = P + "from IPython.display import clear_output; clear_output()"


class TestWelcome(_WithServer, jkt.IopubWelcomeTests):
    kernel_name = "aiki"
    support_iopub_welcome = True


def test_nothing_is_left_unconfigured() -> None:
    asked = [name for name in vars(jkt.KernelTests) if name.startswith(("code_", "completion"))]
    for name in asked:
        value = getattr(TestConformance, name)
        assert value, name


assert issubclass(TestConformance, unittest.TestCase)
