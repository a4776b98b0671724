"""Spoken-language video retrieval: AVLnet and its multilingual cascade in Keras."""

import os

# Read when TensorFlow and Keras are first imported; what the user has set is kept.
# Level 3: TensorFlow 2.16 prints errors about CUDA on machines that have none.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

__version__ = "0.1.0"
