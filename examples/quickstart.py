"""Two manifests find each other's services. Here in one process, in earnest in two."""

import trio

import manifest


async def main() -> None:
    async with manifest.open_manifest() as hub, manifest.open_manifest() as app:
        listener = await hub.listen(port=0, host="127.0.0.1")
        app.connect(port=listener.port)
        with app.registered("web@1.2.3", {"zone": "eu"}, port=8080, address=None):
            for service in (await hub.wait_for("web@^1.2")).values():
                print(service.role, service.address, service.port, service.data)


trio.run(main)
