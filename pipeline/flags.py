"""How clients and settings of the dispatcher spell a boolean. Contract: dispatcher sections 3, 19."""

from __future__ import annotations

from typing import Final

TRUE: Final = ("1", "t", "T", "TRUE", "true", "True")
FALSE: Final = ("0", "f", "F", "FALSE", "false", "False")
