"""Apply: all channels' streams -> one channel's tables. See `cdc.apply.applier.Applier.run`."""
