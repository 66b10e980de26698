"""The command line, which comes with the extra `cli`: a thin layer over the library's public API.

A command that asks opens a manifest of its own, links it to the one that it was told of, looks, and
leaves: the library has no other protocol, so there is nothing here that a program could not do.

The pieces, in the order in which a command line meets them
    `app` (the commands), `teaching` (help by example), `arguments` (text to values), `settings`
    (the options that commands share), `running` (signals, and how a command ends), `visiting` (open
    and link); then the families `lookup`, `watching`, `listening` and `registering` with `holding`
    and `child`; `output`, `wording` and `tables` say what there is to say. The demo stands apart:
    `demo`, `story`, `mesh`, `node`, `proxy` and `board`.

Only this package imports click, and rich; rich only where a terminal is written to, since it costs
as much time as a whole query.
"""
