"""Names of the steps that publishing and handing out have in common, as answers and metrics tell them.

Contract: dispatcher sections 9 and 12.
"""

from __future__ import annotations

from typing import Final

AGED_OFF: Final = "PipelineAgeoff"
DELETED: Final = "FilterPreviouslyDeleted"
