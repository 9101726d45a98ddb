"""The admin HTTP server: health, metrics, status, toggles and the page, answered from memory (INTERFACE.md section 3).

A process of its own, started and fed by the supervisor (`cdc.supervisor.admin_feed` says why); it does no replication work,
and ends when the supervisor does.
"""
