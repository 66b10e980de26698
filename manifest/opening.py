"""Opening a manifest for the time of a block, and what comes out of the block.

The application's own exceptions pass through bare, and so does cancellation; a bug in this library
comes out as `ManifestInternalError`. The nursery would wrap each of them in a group, so what the
block raises is kept until the nursery is gone.

The manifest's own nursery is shielded, so it must be closed whatever happens: Ctrl-C is kept out of
the frames that see to it, and reaches the block, or whatever the main task waits for next.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, NoReturn

import attrs
import trio

from .environment import Environment
from .errors import ManifestInternalError
from .options import Limits, Options, Timeouts
from .registry import Manifest
from .secure import SecureNetwork
from .tls import TLS

__all__ = ["open_manifest"]


def open_manifest(
    *,
    name: str | None = None,
    cluster: str = "manifest",
    registration_lifetime: float = 5.0,
    heartbeat_interval: float = 5.0,
    advertise: str | None = None,
    retention: float = 3600.0,
    max_clock_skew: float | None = None,
    limits: Limits | None = None,
    timeouts: Timeouts | None = None,
    tls: TLS | None = None,
    environment: Environment | None = None,
) -> AbstractAsyncContextManager[Manifest]:
    """Open a manifest for the time of an `async with` block, and leave gracefully at its end.

    Times are in seconds. `name` survives restarts: a later incarnation displaces an earlier one at
    once. Manifests of different `cluster`s, or with different `retention`, refuse each other.
    Others believe in this one for `heartbeat_interval` + `registration_lifetime` after it last
    spoke.
    `advertise` ("host" or "host:port") is what others are told instead of what is bound.
    `max_clock_skew` is 60 s, or a quarter of `retention` where that is less. With `tls` every link
    is encrypted, and both its ends prove by a certificate that they belong to the cluster.
    `environment` replaces wall clock, randomness and network, for simulations. Every bad value is a
    ValueError.

    An exception in the block comes out as it is. `ManifestInternalError` means a bug in this
    library. Cancelled, it still says goodbye to its peers, for at most `timeouts.close` seconds.
    """
    given: dict[str, Any] = {
        "max_clock_skew": max_clock_skew,
        "limits": limits,
        "timeouts": timeouts,
    }
    options = Options(
        name=name,
        cluster=cluster,
        registration_lifetime=registration_lifetime,
        heartbeat_interval=heartbeat_interval,
        advertise=advertise,
        retention=retention,
        **{option: value for option, value in given.items() if value is not None},
    )
    if environment is None:
        environment = Environment()
    if not isinstance(environment, Environment):
        raise ValueError(
            f"environment is made by manifest.Environment(...), got {environment!r:.80}"
        )
    if tls is not None:
        if not isinstance(tls, TLS):
            raise ValueError(
                "tls is made by manifest.TLS.load(...) or manifest.TLS(server=, client=), got "
                f"{tls!r:.80}"
            )
        network = SecureNetwork(environment.network, tls)
        environment = attrs.evolve(environment, network=network)
    return _Opening(options, environment)


class _Opening(AbstractAsyncContextManager[Manifest]):
    """Protects from Ctrl-C all that is called from here: the block is not, for it is called back.

    That asks nothing of the generator, and covers what `contextlib` does around it.
    """

    def __init__(self, options: Options, environment: Environment) -> None:
        self._opened = _open(options, environment)

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(
            f"open_manifest(...) has no {name}: what it opens has, in a block `async with "
            "open_manifest(...) as m:`"
        )

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Manifest:
        return await self._opened.__aenter__()

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        # What is awaited there is shielded there.
        return await self._opened.__aexit__(kind, error, traceback)  # noqa: ASYNC102


@asynccontextmanager
async def _open(options: Options, environment: Environment) -> AsyncGenerator[Manifest, None]:
    manifest = Manifest(options, environment)
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(manifest._tasks.run)
            try:
                yield manifest
            except BaseException as error:  # noqa: ASYNC103, BLE001 - raised again at the end
                # Raised inside of the nursery, it would come out wrapped in a group.
                failure = error
            with trio.CancelScope(shield=True):
                await manifest.aclose()
    except BaseException as error:  # noqa: ASYNC103 - what is not raised again is reported
        crash = _apart_from_cancellation(error)
        if crash is None:
            # Cancelled before there was anything to leave.
            raise
        # The crash is what cancelled the block, if anything did.
        failure = _verdict(failure and _apart_from_cancellation(failure), crash)
    if failure is not None:
        try:
            raise failure
        finally:
            # The exception refers to this frame, so this frame must not refer to it.
            del failure


def _apart_from_cancellation(error: BaseException) -> BaseException | None:
    """Return what is left of an exception without `trio.Cancelled`, or None."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)[1]
    return None if isinstance(error, trio.Cancelled) else error


def _verdict(failure: BaseException | None, crash: BaseException) -> BaseException:
    """Return what to raise where the library crashed, and the application's block may have too."""
    while isinstance(crash, BaseExceptionGroup) and len(crash.exceptions) == 1:
        crash = crash.exceptions[0]
    if not isinstance(crash, Exception):
        # Ctrl-C while the goodbye was said is no bug.
        return crash
    internal = ManifestInternalError(f"a bug in manifest, please report it: {crash!r}")
    internal.__cause__ = crash
    if failure is None:
        return internal
    failure.__cause__ = internal
    return failure
