"""Where the stamps of a corpus come from: a folder, Debian's package, or drawn."""

import os
from collections.abc import Sequence

from absl import logging

from data_prep.demo_videos import synthetic_stamps
from data_prep.demo_videos.corpus_config import SourceConfig
from data_prep.demo_videos.stamp_package import (
    PACKAGE,
    StampsUnavailable,
    fetch_stamps,
)


def find(
    source: SourceConfig, out_dir: str, languages: Sequence[str]
) -> tuple[str, bool]:
    """Gets the stamps: (their folder, whether they are synthetic).

    Fetched or drawn ones are below out_dir. Where the package cannot be had a warning
    says so, and they are drawn.
    """
    if source.stamps_dir:
        return source.stamps_dir, False
    if not source.synthetic:
        try:
            return fetch_stamps(out_dir), False
        except StampsUnavailable as error:
            logging.warning(
                "The stamps cannot be fetched (%s); building the SYNTHETIC corpus of "
                "drawn shapes and synthesised words instead. For the real one unpack "
                "Debian's package %s elsewhere, and give its folder of stamps as "
                "--stamps_dir.",
                error,
                PACKAGE,
            )
    folder = os.path.join(out_dir, "synthetic_stamps")
    synthetic_stamps.write_synthetic_stamps(folder, languages)
    return folder, True
