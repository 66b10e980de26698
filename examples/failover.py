"""Named failover: a standby takes a shared name over, and everyone is sent to it from then on.

The name is an id that both choose. The last writer holds it; the former holder sees its record
replaced and does not renew it. This is hand-over, not an election: it does not keep two standbys
from both believing that it is their turn.
"""

import trio

import manifest
from manifest import Freed, FreeReason


async def main() -> None:
    async with manifest.open_manifest() as primary, manifest.open_manifest() as standby:
        listener = await primary.listen(port=0, host="127.0.0.1")
        await standby.connect(port=listener.port).wait_synced()

        primary.register("db@5.1.0", id="db-main", port=5432)
        # From here on, for what is registered and replaced unread would be no event at all.
        async with primary.events() as events:
            await standby.wait_for({"id": "db-main"})
            standby.register("db@5.1.0", id="db-main", port=5433)
            async for event in events:
                match event:
                    case Freed(service, FreeReason.REPLACED):
                        print(f"port {service.port} was {event.reason}")
                        break
        [service] = (await primary.wait_for({"id": "db-main", "port": 5433})).values()
        print("db-main is at port", service.port)


trio.run(main)
