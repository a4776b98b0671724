"""The files of a folder tree: which are media, and which one a corpus means.

A tree is walked once, when it is first needed.
"""

import collections
import dataclasses
import functools
import hashlib
import os
import re
import unicodedata

# In the order in which one is taken if a video is there in several forms.
VIDEO_SUFFIXES = tuple(
    ".mp4 .mkv .webm .mov .m4v .avi .flv .wmv .mpg .mpeg .ts .mts .m2ts .3gp .3g2 .ogv "
    ".asf .vob .f4v .divx .mxf .rm .rmvb .dv .m2v .mjpeg .mjpg .mpe .mp4v .qt".split()
)
AUDIO_SUFFIXES = tuple(
    ".wav .flac .mp3 .ogg .opus .oga .m4a .m4b .aac .wma .aif .aiff .aifc .amr .ac3 "
    ".au .caf .mka .mp2 .mpga .sph .weba .spx .wv .ape .gsm .voc".split()
)
IMAGE_SUFFIXES = tuple(
    ".jpg .jpeg .png .webp .bmp .gif .tif .tiff .ppm .pgm .jfif .avif".split()
)
_PIECE = 1 << 20
# How downloaders name files by default: "Title [ID].webm".
_ID_IN_BRACKETS = re.compile(r"\[([\w-]{11})\]$")


@dataclasses.dataclass(frozen=True)
class Listing:
    """What is below a folder, as paths relative to it, sorted.

    Attributes:
        files: regular files, or links to one; a link to nothing counts as a file.
        hidden: files and folders that are left out as their names begin with a dot.
        unreadable: names that are no UTF-8 text, and what is neither file nor folder.
    """

    files: list[str]
    hidden: list[str]
    unreadable: list[str]


def list_files(root: str) -> Listing:
    """Lists a folder and all below it; links to folders are followed, each once.

    Raises:
        FileNotFoundError, NotADirectoryError, PermissionError: root, or a folder below
            it, cannot be listed.
    """
    found = Listing([], [], [])
    entered, folders = set(), [""]
    links: list[str] = []
    # Links come last, so that files have the names that they have without them.
    while folders or links:
        prefix = folders.pop() if folders else links.pop(0)
        folder = os.path.join(root, prefix)
        real = os.path.realpath(folder)
        if real in entered:
            continue
        entered.add(real)
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            name = prefix + entry.name
            if entry.name.startswith("."):
                found.hidden.append(name)
            elif not _is_text(entry.name):
                found.unreadable.append(name)
            elif entry.is_dir():
                (links if entry.is_symlink() else folders).append(f"{name}/")
            elif entry.is_file() or (
                entry.is_symlink() and not os.path.exists(entry.path)
            ):
                found.files.append(name)
            else:
                found.unreadable.append(name)
    for names in (found.files, found.hidden, found.unreadable):
        names.sort()
    return found


def as_on_disk(path: str) -> str:
    """A path in the Unicode normal form in which the disk has it.

    Names that macOS has written are in another than most tables. The form that is asked
    for goes before others; the path stays as it is if there is nothing of that name, or
    if there are several.
    """
    if path.isascii() or os.path.exists(path):
        return path
    folder, name = os.path.split(path)
    parent = as_on_disk(folder) if name and folder else folder
    exact = os.path.join(parent, name)
    same = _by_normal_form(parent or ".").get(normal(name), [])
    if os.path.exists(exact) or len(same) == 1:
        return exact if os.path.exists(exact) else os.path.join(parent, same[0])
    return path


@functools.lru_cache(16)
def _by_normal_form(folder: str) -> dict[str, list[str]]:
    found = collections.defaultdict(list)
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        found[normal(name)].append(name)
    return dict(found)


def normal(name: str) -> str:
    """A name in the form (NFC) by which names are compared; macOS writes another."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def has_suffix(name: str, suffixes: tuple[str, ...]) -> bool:
    """Tells by the end of a name, in whatever case, whether a file is of a kind."""
    return os.path.splitext(name)[1].lower() in suffixes


def sha256(path: str) -> bytes:
    """Returns the digest of a file's content, read piece by piece."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.digest()


class MediaFiles:
    """The media of a corpus in a folder tree, found by id or by published path.

    Attributes:
        root: the folder.
        ambiguous: ids for which there were several files, with those files.
        other_forms: ids whose file has its name in another Unicode normal form.
    """

    def __init__(self, root: str, suffixes: tuple[str, ...]):
        """Takes a folder; FileNotFoundError if there is none."""
        if not os.path.isdir(root):
            raise FileNotFoundError(f"{root}: no such folder.")
        self.root = os.path.abspath(root)
        self.ambiguous: dict[str, list[str]] = {}
        self.other_forms: list[str] = []
        self._suffixes = suffixes
        self._by_stem: dict[str, list[str]] | None = None

    def find(self, name: str) -> str | None:
        """Finds the file of an id, or of a path as the corpus publishes it.

        The corpus may lie elsewhere than where its paths start: a file fits if its path
        is the end of the published one, or the other way round; the suffix may differ.
        Of several that fit the one with most folders in common is taken, then the first
        of VIDEO_SUFFIXES.

        Returns:
            An absolute path, or None.
        """
        name = os.path.normpath(name).strip("/")
        direct = os.path.join(self.root, name)
        if has_suffix(name, self._suffixes) and os.path.isfile(direct):
            return direct
        wanted = name.split("/")
        fitting = self._fitting(wanted)
        if not fitting and has_suffix(name, self._suffixes):
            wanted[-1] = os.path.splitext(wanted[-1])[0]
            fitting = self._fitting(wanted)
        if not fitting:
            return None
        suffix = os.path.splitext(name)[1].lower()

        def preference(path: str) -> tuple:
            own = os.path.splitext(path)[1].lower()
            depth = min(path.count("/") + 1, len(wanted))
            return -depth, own != suffix, self._suffixes.index(own), path

        fitting.sort(key=preference)
        if len(fitting) > 1 and preference(fitting[1])[0] == preference(fitting[0])[0]:
            self.ambiguous[name] = fitting
        if not _ends_alike(fitting[0], wanted):
            self.other_forms.append(name)
        return os.path.join(self.root, fitting[0])

    def _fitting(self, wanted: list[str]) -> list[str]:
        """Files that fit; those in the form that is wanted, if there are any."""
        if self._by_stem is None:
            self._by_stem = self._index()
        parts = [normal(part) for part in wanted]
        fitting = []
        for path in self._by_stem.get(parts[-1], []):
            folders = normal(path).split("/")[:-1]
            n_common = min(len(folders), len(parts) - 1)
            if n_common == 0 or folders[-n_common:] == parts[:-1][-n_common:]:
                fitting.append(path)
        alike = [path for path in fitting if _ends_alike(path, wanted)]
        return alike or fitting

    def _index(self) -> dict[str, list[str]]:
        index = collections.defaultdict(list)
        for path in list_files(self.root).files:
            if has_suffix(path, self._suffixes):
                stem = normal(os.path.splitext(os.path.basename(path))[0])
                index[stem].append(path)
                if in_brackets := _ID_IN_BRACKETS.search(stem):
                    index[in_brackets[1]].append(path)
        return dict(index)


def _ends_alike(path: str, wanted: list[str]) -> bool:
    """Whether a file has its name, and the folders in common, in the form wanted."""
    *folders, name = path.split("/")
    n_common = min(len(folders), len(wanted) - 1)
    same = n_common == 0 or folders[-n_common:] == wanted[:-1][-n_common:]
    stem = os.path.splitext(name)[0]
    return same and (wanted[-1] in (stem, name) or f"[{wanted[-1]}]" in stem)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
