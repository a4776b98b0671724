"""Work on worker processes, of this machine or of a cluster; no TensorFlow here."""
