"""Every error XM Lens raises on purpose.

A message says what came, what was expected and what to do. What is not an XmError is a bug and stays loud.
"""


class XmError(Exception):
    """Base of all deliberate errors; the page and the command line show its text as it is."""


class LanguageError(XmError):
    """A language code is unknown, undetectable, or has no adapter in this checkpoint."""


class CorpusError(XmError):
    """A file or text cannot be read as a corpus."""


class TextError(XmError):
    """A query or passage cannot be encoded: it is empty, or holds nothing the tokenizer can read."""


class CheckpointError(XmError):
    """A checkpoint is missing, damaged, or of a layout that is not supported."""


class IndexFolderError(XmError):
    """An index folder is missing, damaged, foreign, or made by another model."""


class TrainingError(XmError):
    """Training data or options cannot be used, or a run cannot go on."""
