"""The replicated map by itself: two replicas, a concurrent write, a free, and its collection."""

from manifest.crdt import HybridClock, LWWMap, Stamp

milliseconds = 1_000
left, right = LWWMap[str, str](), LWWMap[str, str]()
clock = {"left": HybridClock(lambda: milliseconds), "right": HybridClock(lambda: milliseconds)}

left.set("colour", "red", Stamp(clock["left"].tick(), "left"))
right.set("colour", "blue", Stamp(clock["right"].tick(), "right"))

# Each tells the other what it lacks: a delta since the other's context.
to_right, to_left = left.delta(right.context), right.delta(left.context)
right.join(to_right)
left.join(to_left)
assert left == right
print("both say", left["colour"])

# A free is a tombstone, until the horizon passes it.
for time in right.context.values():
    clock["right"].observe(time)
right.delete("colour", Stamp(clock["right"].tick(), "right"))
left.join(right.delta(left.context))
print("tombstones:", left.tombstones)
right.prune(right.context["right"])
left.join(right.delta(left.context))
print("tombstones:", left.tombstones)
assert left == right
