"""The builder: untranscribed videos -> speech -> clips -> a manifest one can review.

A wing of its own: data_prep.build comes in, and nothing else does.
"""
