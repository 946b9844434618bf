"""Hides from a process what the slim image does not have; first on its path.

Python imports this module by its name at every start of a process that finds it on its path.
"""

import sys
from importlib.machinery import PathFinder

ABSENT = {"sklearn", "scipy", "joblib", "threadpoolctl", "skl2onnx", "onnx", "ml_dtypes"}


class SlimFinder(PathFinder):
    """Finds everything on the path but these."""

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        if fullname.partition(".")[0] in ABSENT:
            return None
        return super().find_spec(fullname, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = SlimFinder
