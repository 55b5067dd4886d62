"""Every error that personalgen raises on purpose, as one tree.

    PersonalgenError
    ├── UserError            the caller can mend it; the command line exits with 2
    │   ├── ConfigError          a setting is unknown, missing or out of range
    │   │   └── OptionsError         values of one section are out of range
    │   ├── SourceError          a source cannot be opened or lacks a table or column
    │   │   └── PushDownError        a database cannot sum the events as they would be read
    │   ├── DataError            rows were read, but too many of them are unusable
    │   │   └── HealthError          the source is not what it was on earlier nights; exits with 65
    │   ├── ConditionError       a condition does not fit the model's ConditionSpec
    │   ├── QueryError           an SQL query was refused or cut
    │   ├── NotFoundError        a user, asset, night or model version does not exist
    │   └── UnfinishedError      a time limit ended before the work; what was done is kept; exits with 75
    └── InternalError        ours to mend; the command line exits with 1
        ├── ArtifactError        a file is missing, half-written or has another digest
        ├── CatalogueError       the catalogue is locked, too old, or refused a write
        │   └── BusyError            another process holds the home: a night, or what else writes there
        ├── RegistryError        MLflow holds something other than what we wrote
        ├── ServerError          a Prefect server does not start, or does not answer
        └── TrainingError        the training diverged
            └── LostProcessError     another process of a training ended or does not answer

A message says what was expected, what was found, where, what to do, and whether anything changed.
"""


class PersonalgenError(Exception):
    """The root of every deliberate error; `exit_code` is what the command line returns."""

    exit_code = 1


class UserError(PersonalgenError):
    """The caller can mend it."""

    exit_code = 2


class ConfigError(UserError):
    """A setting is unknown, missing or out of range."""


class OptionsError(ConfigError, ValueError):
    """Values of one section are out of range; `faults` holds one phrase each, `section` where they stand."""

    def __init__(self, section: str, faults: tuple[str, ...] = ()) -> None:
        super().__init__(f"{section}: {'; '.join(faults)}. Mend these settings. Nothing was started.")
        self.section, self.faults = section, faults


class SourceError(UserError):
    """A source cannot be opened, or lacks a table or a column."""


class PushDownError(SourceError):
    """A database cannot sum the events as they would be read; the message is the reason, a sentence."""


class DataError(UserError):
    """Rows were read, but too many of them are unusable."""


class HealthError(DataError):
    """The tables do not look like those of earlier nights; somebody has to look before a night goes on."""

    exit_code = 65  # sysexits.h: the input data was incorrect


class ConditionError(UserError):
    """A condition does not fit the model's ConditionSpec."""


class QueryError(UserError):
    """An SQL query was refused, or cut at a limit."""


class NotFoundError(UserError):
    """A user, asset, night or model version does not exist."""


class UnfinishedError(UserError):
    """A time limit of the settings ended before the work; what was done is kept, and the same command goes on."""

    exit_code = 75  # sysexits.h: a temporary failure, try again


class InternalError(PersonalgenError):
    """Ours to mend."""


class ArtifactError(InternalError):
    """A file is missing, half-written or has another digest than recorded."""


class CatalogueError(InternalError):
    """The catalogue is locked, at another revision, or refused a write."""


class BusyError(CatalogueError):
    """Another process holds the home: a night, or what else writes there."""


class RegistryError(InternalError):
    """MLflow holds something other than what was written to it."""


class ServerError(InternalError):
    """The Prefect server of a home does not start, or does not answer."""


class TrainingError(InternalError):
    """The training diverged."""


class LostProcessError(TrainingError):
    """Another process of a training ended, or does not answer."""
