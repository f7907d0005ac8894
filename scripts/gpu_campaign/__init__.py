"""The GPU campaign: everything that is worth measuring on a GPU machine, in one command and a given time.

``scripts/gpu_campaign.sh`` finds a Python and starts :mod:`gpu_campaign.cli`; docs/CAMPAIGN.md says what is measured
and what is written. What is run stands in :mod:`gpu_campaign.parts`; how long it may take in
:mod:`gpu_campaign.schedule`; how it is stopped in :mod:`gpu_campaign.running`; how the results fit into few files in
:mod:`gpu_campaign.packing`.
Only the standard library and the side of ds2prof that starts profilers are used, so that the campaign runs wherever
training does.
"""
