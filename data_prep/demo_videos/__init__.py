"""The demos' corpora: stamps -> narrated slide shows, and images with captions.

A wing of its own: data_prep.stamps and data_prep.stamp_images come in, and nothing else
does.
"""
