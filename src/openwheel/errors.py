"""Every error Openwheel raises on purpose.

::

    OpenwheelError
    ├── OperatorError          the operator can mend it
    │   ├── SettingError       a setting or option is not what it must be
    │   ├── LogError           a log cannot be read (names the file and line)
    │   ├── StoreError         the traffic store cannot be opened, read or written
    │   │   ├── UnstorableError    a value is one that the store cannot hold
    │   │   └── ObjectStoreError   the object store of large files cannot be used
    │   ├── StudentFileError   a saved student is missing, corrupt or not what was certified
    │   ├── CatalogError       a row of the catalogue is not what it must be, or there is none
    │   ├── ModelError         a checkpoint cannot be loaded, trained, run or exported
    │   │   └── JobDiedError       the process that works on it was killed or crashed
    │   ├── BundleError        a bundle of an edge cannot be made, or is not what it must be
    │   └── PolicyError        the policy forbids what was asked; names the clause
    ├── EngineError            an engine cannot be reached, or does not serve a model
    │   └── EngineDownError        it cannot be reached, or takes too long
    ├── TeacherError           the teacher could not be reached or broke off
    └── RequestError           a client sent something that is not a request we can read

A message is one sentence or two: the thing, what it must be, what it was.
Anything else that escapes (``TypeError``, ``AssertionError``) is a bug in Openwheel.
"""


class OpenwheelError(Exception):
    """Base of all errors raised on purpose."""


class OperatorError(OpenwheelError):
    """Something that the operator of Openwheel can mend."""


class SettingError(OperatorError):
    """A setting or option has a value it cannot have."""


class LogError(OperatorError):
    """A log file, or under ``--strict`` a line of it, cannot be read."""


class StoreError(OperatorError):
    """The traffic store cannot be opened, read or written."""


class UnstorableError(StoreError):
    """A value is one that the traffic store cannot hold; all others may still be written."""


class ObjectStoreError(StoreError):
    """The object store that keeps large files beside the traffic store cannot be used."""


class StudentFileError(OperatorError):
    """A saved student is missing, corrupt, or not the one that was certified."""


class CatalogError(OperatorError):
    """A row of the catalogue is not what it must be, or there is no such row."""


class ModelError(OperatorError):
    """A checkpoint cannot be loaded, trained, run or exported."""


class BundleError(OperatorError):
    """A bundle of an edge cannot be made, or is not one that may be used."""


class JobDiedError(ModelError):
    """The process of a job was killed or crashed."""


class PolicyError(OperatorError):
    """The policy or a licence forbids what was asked; the message names the clause."""


class EngineError(OpenwheelError):
    """An engine that runs models cannot be reached, or does not serve the model asked for."""


class EngineDownError(EngineError):
    """An engine cannot be reached, or takes longer than it may."""


class TeacherError(OpenwheelError):
    """The teacher could not be reached, or broke off before an answer."""


class RequestError(OpenwheelError):
    """A client's request is not one that can be read."""
