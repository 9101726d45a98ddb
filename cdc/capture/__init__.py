"""Capture: one channel's log -> the change log. See `cdc.capture.capture.Capture.run`."""
