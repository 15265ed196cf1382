"""Whether a store is still what a run was trained on, for what trains its twins later."""

from stepcli.probe.runs.earlier import fits
from stepcli.probe.runs.record import RunRecord
from stepcli.probe.sweeps.session import Session
from stepcli.runtime.errors import UsageError


def not_of_run(session: Session, record: RunRecord, label: str) -> str:
    """Why probes trained on a store now are no twins of a run; "" where they are.

    Args:
        session: On the store.
        record: Of the run.
        label: What the message calls it.

    Raises:
        UsageError: the run's settings are not of this version.
    """
    store, task = session.store, record.settings.task
    if store.fingerprint != record.fingerprint:
        return (
            f"{store.path} holds other tokens than {label} was trained on (fingerprint "
            f"{store.fingerprint[:8]}, expected {record.fingerprint[:8]}); "
            "give its store by --store, or leave it out by --method"
        )
    try:
        if record.tables:
            same = session.tables.digest(task) == record.tables
        else:
            same = fits(session.runs / record.run, session.task(task))
    except UsageError as error:  # such as a split that is empty by now
        return str(error)
    if same:
        return ""
    return (
        f"{store.path} has other labels, splits or groups by now than {label} was trained on; "
        "train it again (stepcli probe), or leave it out by --method"
    )
