"""ONNX Runtime without its telemetry: the product imports it from here.

Its official builds for Linux write a device id to the disk and send events to their maker. The
library reads the switch when it is loaded, so this module sets it first.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime  # after the switch

__all__ = ["onnxruntime"]
