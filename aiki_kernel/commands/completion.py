"""``aiki completion``: the few lines that make Tab work in a shell."""

from __future__ import annotations

from typing import Annotated, Literal

from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.registry import command

_BASH = """\
_aiki() {
    local IFS=$'\\n'
    COMPREPLY=($(aiki _complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _aiki aiki"""

_ZSH = """\
#compdef aiki
_aiki() {
    local -a offers
    offers=("${(@f)$(aiki _complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    [[ -n "$offers" ]] && compadd -- $offers || _files
}
compdef _aiki aiki"""

_FISH = """\
complete -c aiki -a '(aiki _complete (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'"""

_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


@command("completion", faces=("cli",))
def completion(
    context: Context, shell: Annotated[Literal["bash", "zsh", "fish"], Arg("which shell")]
) -> Result:
    """Print what your shell needs for Tab, e.g. `eval "$(aiki completion bash)"` in .bashrc."""
    return Result({"shell": shell, "script": _SCRIPTS[shell]}, _SCRIPTS[shell])
