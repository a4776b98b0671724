"""data_prep's extraction of one video. Settings: video; backbone; found: an .npz."""

from avl_tf import records
from benchmarks.side import Work, save_once, serve
from data_prep import extraction
from data_prep.extraction import ExtractionConfig
from data_prep.manifest import Recording


def prepare(settings: dict) -> Work:
    extraction.limit_threads(1)
    config = ExtractionConfig(settings["backbone"], "", "", "")
    extraction.feature_specs(config)  # loads the CNN
    recording = Recording("video", settings["video"])

    def work():
        (record,) = extraction.extract([recording], config)
        save_once(settings["found"], features_2d=record.features_2d)
        return {"n_bytes": len(records.encode(record))}

    return work


if __name__ == "__main__":
    serve(prepare)
