"""The demo's corpus: pictures with spoken names -> narrated slide shows.

A wing of its own: data_prep.stamps comes in, and nothing else does.
"""
