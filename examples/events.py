"""Keep a view of one role up to date from a snapshot and events, however slowly it is read."""

import trio
import trio.testing

import manifest
from manifest import Freed, Registered, Updated


async def keep_view(registry: manifest.Manifest) -> None:
    async with registry.events() as events:
        view = {id: service for id, service in events.snapshot.items() if service.name == "web"}
        async for event in events:
            match event:
                case Registered(service) | Updated(service) if service.name == "web":
                    view[service.id] = service
                case Freed(service, reason) if service.name == "web":
                    del view[service.id]
                    print(f"{service.role} is gone: {reason}")
                case _:
                    continue
            assert view == registry.get("web")
            print("now:", sorted(each.role for each in view.values()))


async def main() -> None:
    async with manifest.open_manifest() as registry, trio.open_nursery() as nursery:
        registry.register("web@1.0.0", port=8001)
        nursery.start_soon(keep_view, registry)
        await trio.testing.wait_all_tasks_blocked()
        second = registry.register("web@1.1.0", port=8002)
        await trio.testing.wait_all_tasks_blocked()
        registry.free(second)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


trio.run(main)
