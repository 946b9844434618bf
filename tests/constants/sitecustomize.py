"""Gives a process other constants than `aimq.settings.Constants` has; see `tests.system.constants`.

Python imports this module by its name at every start of a process that finds it on its path.
"""

import json
import os

from aimq.settings import Settings

for name, value in json.loads(os.environ["AIMQ_TEST_CONSTANTS"]).items():
    Settings.model_fields[name].default = value
Settings.model_rebuild(force=True)
