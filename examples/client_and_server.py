"""An echo server that registers itself, and a client that finds it by role, version and load.

The server registers after its port is open and frees before it closes, so a client is never sent
to a port where nobody listens.
"""

import trio

import manifest


async def echo(stream: trio.SocketStream) -> None:
    async for chunk in stream:
        await stream.send_all(chunk)


async def serve(hub_port: int, version: str) -> None:
    async with manifest.open_manifest() as registry, trio.open_nursery() as nursery:
        registry.connect(port=hub_port)
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, echo, listeners)
        port = listeners[0].socket.getsockname()[1]
        with registry.registered(f"echo@{version}", port=port, address="127.0.0.1"):
            await trio.sleep_forever()


async def ask(registry: manifest.Manifest, text: str) -> None:
    await registry.wait_for("echo@^1")
    server = registry.pick("echo@^1")
    assert server.address is not None
    assert server.port is not None
    async with await trio.open_tcp_stream(server.address, server.port) as stream:
        await stream.send_all(text.encode())
        answer = await stream.receive_some()
    print(f"{server.role}: {answer.decode()}")


async def main() -> None:
    async with manifest.open_manifest() as hub:
        listener = await hub.listen(port=0, host="127.0.0.1")
        async with trio.open_nursery() as nursery:
            for version in ("1.0.0", "1.1.0", "2.0.0"):
                nursery.start_soon(serve, listener.port, version)
            for version in ("1.0.0", "1.1.0"):
                await hub.wait_for(f"echo@{version}")
            for text in ("one", "two", "three", "four"):
                await ask(hub, text)
            nursery.cancel_scope.cancel()


trio.run(main)
