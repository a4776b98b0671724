"""A square matrix product in TensorFlow. Settings: size."""

import tensorflow as tf

from benchmarks.side import Work, serve


def prepare(settings: dict) -> Work:
    size = settings["size"]
    one, two = tf.random.normal((size, size)), tf.random.normal((size, size))

    def work():
        tf.linalg.matmul(one, two)[0, 0].numpy()  # it is there when all is done
        return {"flop": 2 * size**3}

    return work


if __name__ == "__main__":
    serve(prepare)
